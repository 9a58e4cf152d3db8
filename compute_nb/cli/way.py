"""This module is the way from the command line to the service of an endpoint: the home's, or another one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from compute_nb.config import LOCAL, TOKEN_VARIABLE, ServiceSettings, Settings
from compute_nb.errors import ComputeError
from compute_nb.home import Home


class Way:
    """Asks one service; blocks.

    Args:
        home: Whose service it is, or whose config.toml names it.
        service: Its URL, or its name in config.toml; None and "local" for that of the home.
        token_file: Holds the token for a URL; else COMPUTE_NB_TOKEN does.
    """

    def __init__(self, home: Home, service: str | None = None, token_file: Path | None = None) -> None:
        self.home = home
        self.service = None if service == LOCAL else service
        self.token_file = None if token_file is None else token_file.absolute()

    def __str__(self) -> str:
        return self.service or "the service of this home"

    @property
    def own(self) -> bool:
        """True for the service of the home."""
        return self.service is None

    def settings(self) -> ServiceSettings:
        """Returns how another service than the home's is reached.

        Raises:
            ComputeError: It is not configured, or has no token.
        """
        assert self.service is not None
        if "://" not in self.service:
            return Settings.load(self.home).service(self.service)
        token = None if self.token_file else os.environ.get(TOKEN_VARIABLE, "").strip()
        if self.token_file is None and not token:
            raise ComputeError(f"--service needs a token: give --token-file, or set {TOKEN_VARIABLE}")
        return ServiceSettings(self.service, self.service, token_file=self.token_file, token=token)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Returns the answer to one request.

        Raises:
            ServiceUnreachable: Nobody answers.
            ComputeError: The service says no.
        """
        if self.own:
            from compute_nb.cli import control

            return control.ask(self.home, method, path, body, timeout_s=20.0)
        from compute_nb.connection import Connection, Repeat

        named = self.settings()
        connection = Connection(named.url or "", named.read_token(), ca=named.ca, prove=named.proving)
        try:
            sent = None if body is None else json.dumps(body).encode()
            return connection.send(method, path, sent, Repeat.UNREAD)
        finally:
            connection.close()
