"""This module is the configuration of an agent, as the command line gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compute_nb.config import Home
from compute_nb.endpoint.settings import Settings


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
    """

    name: str
    directory: Path
    service_url: str
    token: str = field(repr=False)
    settings: Settings = field(default_factory=Settings)
    home: Home | None = None
