"""`python -m wanlab`: the command line."""

import sys

from wanlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
