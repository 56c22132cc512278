"""The command line: ``valence``, or ``python -m valence_integrations``.

`app` defines the commands and options; each command is implemented in its own module. `inputs` reads the inputs and
`outputs` writes the outputs.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, and exit with its exit code."""
    try:
        import typer  # noqa: F401
    except ImportError:
        sys.stderr.write(
            'valence: the command line needs an optional dependency: pip install "valence-integrations[cli]"\n'
        )
        sys.exit(2)
    try:
        from valence_integrations.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)
