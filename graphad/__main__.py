"""``python -m graphad``: the command line, as the console script `graphad` starts it."""

from __future__ import annotations

import sys

from graphad.cli import main

if __name__ == "__main__":
    sys.exit(main())
