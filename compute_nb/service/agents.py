"""This module is what the steward knows of published agents and their user endpoints: who was heard when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from compute_nb.service.start_command import PERIOD_S


@dataclass(slots=True)
class Beat:
    """The heartbeats of an agent or a user endpoint; `silence` comes after three periods without."""

    silence: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Waits for no silence any more."""
        if self.silence is not None:
            self.silence.cancel()
            self.silence = None


@dataclass(slots=True)
class Core:
    """A published agent.

    Attributes:
        online: True while it sends heartbeats or reads its commands.
        warning: What is wrong with its clock, or None.
    """

    beat: Beat = field(default_factory=Beat)
    online: bool = False
    warning: str | None = None


@dataclass(slots=True)
class User:
    """A user endpoint.

    Attributes:
        beat_at: When its last heartbeat came, seconds since the epoch.
        up: True while it is sent tasks.
        process: The one that sent the last heartbeat.
        not_before: When it may start again, by the loop's clock.
        started_at: When the start command left that nothing has answered.
        settling: Gives up what an older process had.
    """

    core_id: UUID
    beat: Beat = field(default_factory=Beat)
    period_s: float = PERIOD_S
    beat_at: float = 0.0
    up: bool = False
    process: UUID | None = None
    not_before: float = 0.0
    started_at: float | None = None
    settling: asyncio.TimerHandle | None = None
