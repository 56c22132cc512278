"""The command line: ``valence``, or ``python -m valence_integrations``.

`app` says what can be typed, and each command has a module that does it. What is written stands in `outputs`, what is
read in `inputs`.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that was typed, and end the process with its exit code."""
    try:
        import typer  # noqa: F401
    except ImportError:
        sys.stderr.write('valence: the command line needs its extra: pip install "valence-integrations[cli]"\n')
        sys.exit(2)
    try:
        from valence_integrations.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)
