"""A service as a process, PYTHON quick_service.py HOME READY_FD SETTINGS, that gives ended ones up soon."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compute_nb.home import Home
from compute_nb.service.config import RabbitOptions, ServiceConfig
from compute_nb.service.process import run_service

SETTLE_S = 3.0

home, ready_fd, text = sys.argv[1:]
settings = json.loads(text)
rabbit = RabbitOptions(**settings["rabbit"]) if settings["rabbit"] else None
config = ServiceConfig(Home(Path(home)), plain=settings["plain"], rabbit=rabbit, settle_s=SETTLE_S)
sys.exit(run_service(config, int(ready_fd), quiet=True))
