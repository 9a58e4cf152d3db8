"""This module is a line of the log: as text or JSON, with the ids that it is about and without secrets.

Each hop of a task says at level DEBUG what it has done with it. A log that is filtered by `task_id` tells the
task's way, in the service and at the endpoint.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

VARIABLE = "COMPUTE_NB_LOG"
"""Words with commas between: a level (`debug`, `info`, `warning`), and `json`."""

LEVELS = ("debug", "info", "warning")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_QUIET = ("uvicorn", "pika", "asyncio")

# Nobody means to log one; a path or an error of another program may hold it all the same.
_SECRETS = (
    (re.compile(r"(cnb_[0-9a-f]{16}_)[0-9a-f]{64}"), r"\1…"),
    (re.compile(r"(\w://[^\s:/@]+:)[^\s/@]+@"), r"\1…@"),
)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\t",
}
_IDS = ("task_id", "task_group_id", "endpoint_id")


def told(log: logging.Logger, what: str, tasks: Iterable[UUID], **ids: UUID | None) -> None:
    """Says of each task what a hop has done with it; costs nothing unless the log is at DEBUG.

    Args:
        what: In the past tense, as after "task X: ".
        ids: Others that it is about.
    """
    if not log.isEnabledFor(logging.DEBUG):
        return
    named = {name: str(value) for name, value in ids.items() if value is not None}
    beside = "".join(f", {name.removesuffix('_id').replace('_', ' ')} {text}" for name, text in named.items())
    for task_id in tasks:
        extra = {"task_id": str(task_id), **named}
        log.debug("task %s: %s%s", task_id, what, beside, extra=extra)


def begin(handlers: Sequence[logging.Handler], level: str, as_json: bool) -> None:
    """Has all that is logged in this process written so."""
    formatter = JsonLine() if as_json else TextLine()
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger("compute_nb").setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def said(environ: Mapping[str, str] = os.environ) -> tuple[str | None, bool | None]:
    """Returns level, and True for JSON, as the environment says; None where it does not."""
    words = {word.strip().lower() for word in environ.get(VARIABLE, "").split(",")}
    return next((level for level in LEVELS if level in words), None), "json" in words or None


def chosen(environ: Mapping[str, str] = os.environ) -> tuple[str, bool]:
    """Returns level, and whether as JSON, as the environment says, or what holds if it says nothing."""
    level, as_json = said(environ)
    return level or LEVELS[1], bool(as_json)


def spelled(level: str, as_json: bool) -> str:
    """Returns what says the same in the environment, for processes that are started from here."""
    return ",".join([level, *(["json"] if as_json else [])])


def without_secrets(text: str) -> str:
    """Returns the text with tokens and passwords of URLs cut out."""
    for pattern, place in _SECRETS:
        text = pattern.sub(place, text)
    return text


class TextLine(logging.Formatter):
    """One line for people; what others sent can't begin a line of its own."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Called by logging."""
        record.message = record.message.translate(_CONTROLS)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Called by logging."""
        return without_secrets(super().format(record))


class JsonLine(logging.Formatter):
    """One JSON object a line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by logging."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        fields |= {name: getattr(record, name) for name in _IDS if hasattr(record, name)}
        if record.exc_info:
            fields["traceback"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)
