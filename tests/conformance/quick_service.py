"""A service as a process, PYTHON quick_service.py HOME READY_FD [plain], that gives ended ones up soon."""

from __future__ import annotations

import sys
from pathlib import Path

from compute_nb.config import Home
from compute_nb.service.config import ServiceConfig
from compute_nb.service.process import run_service

SETTLE_S = 3.0

home, ready_fd, *words = sys.argv[1:]
config = ServiceConfig(Home(Path(home)), plain="plain" in words, settle_s=SETTLE_S)
sys.exit(run_service(config, int(ready_fd), quiet=True))
