"""``python -m batchcore`` is the command line."""

import sys

from batchcore.cli import main

sys.exit(main())
