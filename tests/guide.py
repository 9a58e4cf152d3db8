"""Where the Executor guide that this project follows lies, if it is here at all: it is not ours to keep."""

import os
from pathlib import Path

_BESIDE = Path(__file__).parents[2] / "shared" / "executor_user_guide.rst"
FILE = Path(os.environ.get("COMPUTE_NB_GUIDE") or _BESIDE)
