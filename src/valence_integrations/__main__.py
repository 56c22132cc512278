"""``python -m valence_integrations`` is the ``valence`` command."""

from __future__ import annotations

from valence_integrations.cli import main

if __name__ == "__main__":
    main()
