"""This module is the configuration of an agent, as the command line gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compute_nb.endpoint.settings import Settings
from compute_nb.home import Home
from compute_nb.proof import Prove
from compute_nb.trust import Authorities


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What an agent is told at its start.

    Attributes:
        name: Of the endpoint.
        directory: Its folder: journal, slots, logs, id, and where tasks run by default.
        service_url: The service to register with.
        token: A REST token for it.
        settings: What its owner has decided.
        home: The user's home folder if the service is its own one, which the agent may start again.
        ca, prove: How the service is known for what it is, as in `connection.Connection`.
        service: The service as the command line named it, for a later start; None for that of the home.
        token_file: Likewise.
        options: Likewise, the other ones.
    """

    name: str
    directory: Path
    service_url: str
    token: str = field(repr=False)
    settings: Settings = field(default_factory=Settings)
    home: Home | None = None
    ca: Authorities = None
    prove: Prove = Prove.ALWAYS
    service: str | None = None
    token_file: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
