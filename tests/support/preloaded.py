"""What workers begin with: all that a run imports, which takes longer than the run of few rows."""

import distributed  # noqa: F401  # loaded, for those of Dask

import batchcore
import support.worker  # noqa: F401  # loaded
from support.command import called

batchcore.preload()
called(("version",))  # what parses words is imported by their first use
