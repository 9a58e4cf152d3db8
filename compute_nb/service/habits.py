"""This module is what a service was told when it was started, kept in its home for whoever starts it again.

Ports, store, broker, `--plain` and times are kept elsewhere, in the store and its mark. Here is where it
listens and how it works; there is no secret among it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.private import write_private
from compute_nb.service.config import Limits, ServiceConfig


@dataclass(frozen=True, slots=True)
class Habits:
    """The fields of `ServiceConfig` that have these names."""

    host: str
    durability: Literal["power", "process"]
    tls_cert: Path | None
    tls_key: Path | None
    public_url: str | None
    amqp_public_url: str | None
    limits: Limits
    log_level: str
    log_json: bool

    @classmethod
    def of(cls, config: ServiceConfig) -> Habits:
        """Returns those of a service."""
        return cls(**{one.name: getattr(config, one.name) for one in fields(cls)})

    @classmethod
    def last(cls, home: Home) -> Habits:
        """Returns those of the service that a home had last, the usual ones if it had none.

        Raises:
            ComputeError: The file is there and says nothing of use.
        """
        try:
            return cls._parse(json.loads(home.habits_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return cls.of(ServiceConfig(home))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ComputeError(
                f"{home.habits_file}, what the service was told last time, can't be read "
                f"({type(error).__name__}: {error}): `compute-nb service start --fresh`, with the options "
                "that it needs, writes it anew"
            ) from error

    @classmethod
    def _parse(cls, kept: dict[str, Any]) -> Habits:
        known = {one.name: kept[one.name] for one in fields(cls)}  # a later version may have more
        paths = {key: Path(kept[key]) for key in ("tls_cert", "tls_key") if kept[key] is not None}
        return cls(**{**known, **paths, "limits": Limits(**kept["limits"])})

    def keep(self, home: Home) -> None:
        """Notes them for the next service of a home; usual limits are those of its own version then.

        Raises:
            OSError: The disk is full, say.
        """
        limits = dict(asdict(self.limits).items() - asdict(Limits()).items())
        told = {**asdict(self), "limits": limits}
        write_private(home.habits_file, json.dumps(told, indent=1, default=str, sort_keys=True) + "\n")
