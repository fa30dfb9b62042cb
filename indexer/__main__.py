"""Run the indexer as a job: `python -m indexer SOURCE... --collection C`."""

from __future__ import annotations

import sys

from indexer.command import main

if __name__ == "__main__":
    sys.exit(main())
