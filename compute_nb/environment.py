"""This module is the environment of workers: how it differs from ours, and what that may break."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from typing import Any

_MEND = (
    "Run tasks by the same Python and dill (`compute-nb endpoint run NAME --python PATH`), or send functions "
    "as source: Executor(..., serializer=ComputeSerializer(strategy_code=DillCodeSource()))"
)


def warning_of(endpoint_id: object, agent: Mapping[str, Any]) -> str | None:
    """Returns what to tell a caller whose functions travel as bytecode, None if nothing differs.

    Args:
        endpoint_id: The endpoint, for the text.
        agent: What it said of itself: `python`, `dill`, `platform`; what is missing does not differ.
    """
    differing = list(_differences(agent))
    if not differing:
        return None
    there, here = (", ".join(side) for side in zip(*differing, strict=True))
    serious = _other_minor(agent)
    risk = (
        "functions travel as bytecode of this Python, which another one may refuse, crash on or run to a "
        "wrong value"
        if serious
        else "that is usually safe, and nobody promises that what one of them writes the other can read"
    )
    return f"endpoint {endpoint_id} runs tasks by {there}, and here is {here}: {risk}. {_MEND}"


def suspicion_of(agent: Mapping[str, Any]) -> str | None:
    """Returns what to add to the failure of a function that went as bytecode, None if its Python is as ours.

    Args:
        agent: As `warning_of` has it.
    """
    if not _other_minor(agent):
        return None
    return (
        f"the function went as bytecode of Python {platform.python_version()} and ran by Python "
        f"{agent['python']}, where it may crash or go wrong: that may be why. {_MEND}"
    )


def _differences(agent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what is there and what is here."""
    for name, key, ours in (("Python", "python", platform.python_version()), ("dill", "dill", _dill())):
        theirs = agent.get(key)
        if theirs and theirs != ours:
            yield f"{name} {theirs}", f"{name} {ours}"
    machine = str(agent.get("platform") or "")
    if machine and not (machine.startswith(platform.system()) and platform.machine() in machine):
        yield machine, platform.platform()


def _other_minor(agent: Mapping[str, Any]) -> bool:
    ours = platform.python_version()
    return _minor(str(agent.get("python") or ours)) != _minor(ours)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


@cache
def _dill() -> str:
    return metadata.version("dill")
