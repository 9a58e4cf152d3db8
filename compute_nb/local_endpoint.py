"""This module is the endpoint of this interpreter at another service: started here, registered there."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from compute_nb.config import LOCAL, TOKEN_VARIABLE, URL_VARIABLE, ServiceSettings
from compute_nb.errors import ComputeError
from compute_nb.home import HOME_VARIABLE, Home

START_TIMEOUT_S = 90.0
_ID_FILE = "endpoint.json"


class LocalEndpoint:
    """One for each interpreter, service and user; its agent goes on until it is stopped by command.

    Args:
        home: Where its folder is.
        service: Where it is registered.
        user_id: As whom, as the service says.
    """

    def __init__(self, home: Home, service: ServiceSettings, user_id: str) -> None:
        self._home, self._service = home, service
        key = "\n".join((service.url or "", user_id, sys.prefix)).encode()
        node = re.sub(r"[^A-Za-z0-9_.-]", "_", platform.node())[:64]
        self.name = f"{LOCAL}-at-{node}-{hashlib.sha256(key).hexdigest()[:8]}"

    @property
    def endpoint_id(self) -> UUID | None:
        """The id that the service gave it; None if it has never run."""
        try:
            text = (self._folder / _ID_FILE).read_text(encoding="utf-8")
            return UUID(json.loads(text)["endpoint_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self) -> UUID:
        """Starts its agent unless it runs, and returns its id; blocks until the service has heard of it.

        Raises:
            ComputeError: It could not be started; the text is what it said.
        """
        self._home.prepare()
        secrets = {TOKEN_VARIABLE: self._service.read_token(), HOME_VARIABLE: str(self._home.root)}
        environ = {name: value for name, value in os.environ.items() if name != URL_VARIABLE} | secrets
        command = [sys.executable, "-m", "compute_nb.cli", "endpoint", "start", self.name]
        given_outright = self._service.token is not None
        service = self._service.url if given_outright else self._service.name
        try:
            done = subprocess.run(
                [*command, f"--service={service}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                cwd=self._home.root,
                env=environ,
                timeout=START_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ComputeError(f"endpoint {self.name} did not start in {START_TIMEOUT_S:.0f} s") from error
        known = self.endpoint_id
        if done.returncode or known is None:
            said = done.stderr.strip().removeprefix("Error: ") or f"exit status {done.returncode}"
            raise ComputeError(f"endpoint {self.name} did not start: {said}")
        return known

    @property
    def _folder(self) -> Path:
        return self._home.endpoint_dir(self.name)
