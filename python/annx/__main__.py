"""`python -m annx`: the console script without an installed entry point."""

import sys

from annx.cli import main

if __name__ == "__main__":
    sys.exit(main())
