"""This module is the manner of a cell: how long its tasks run, with what, in which form, how repeatably."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute_nb.notebook.refusal import CellRefused, nearest

JSON, PICKLE = "JSONData", "DillDataBase64"
_FORMS: Mapping[str, tuple[str, ...]] = {
    JSON: (JSON,),
    PICKLE: (PICKLE,),
    "AllDataStrategies": (PICKLE,),
}
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Manner:
    """What each task of a cell runs under.

    Attributes:
        walltime_s: Seconds that one attempt may run; None: no limit.
        resources: What an engine is asked for, {} for nothing.
        config: What an endpoint that its users configure is asked for, {} for nothing.
        inputs_as: The form of what travels in: "JSONData" keeps pickles out, "" is as usual.
        results_as: The forms of what comes back, tried in this order; () is as usual.
        seed: What generators of random numbers begin with, together with the task's place.
        cache: Whether a finished result of the same is taken instead of running it again.
    """

    walltime_s: float | None = None
    resources: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    inputs_as: str = ""
    results_as: tuple[str, ...] = ()
    seed: int | None = None
    cache: bool = False


def manner(args: Any) -> Manner:
    """Returns how the tasks of a cell are to run, as the parser has read it from its line.

    Raises:
        CellRefused: One is out of range, no JSON, or nothing that a cell can travel by.
    """
    return Manner(
        walltime_s=_walltime(args.walltime),
        resources=_mapping(args.resources, "--resources", '{"num_nodes": 2}'),
        config=_mapping(args.config, "--config", '{"partition": "short"}'),
        inputs_as=_form(args.serializer, "--serializer")[0] if args.serializer else "",
        results_as=_forms(args.result_serializer),
        seed=_seed(args.seed),
        cache=args.cache,
    )


def _walltime(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise CellRefused(f"`--walltime {given}`: a number of seconds above 0, as in `--walltime 600`")
    return seconds


def _seed(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or int(given) > MAX_SEED:
        raise CellRefused(f"`--seed {given}`: a whole number from 0, as in `--seed 7`")
    return int(given)


def _mapping(given: str | None, option: str, example: str) -> Mapping[str, Any] | None:
    if given is None:
        return None
    try:
        value = json.loads(given)
    except ValueError as error:
        raise CellRefused(f"`{option} {given}` is no JSON: {error}; write `{option} {example}`") from None
    if not isinstance(value, dict):
        raise CellRefused(f"`{option} {given}`: a JSON object, as in `{option} {example}`")
    return value


def _forms(given: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for name in [name.strip() for text in given for name in text.split(",") if name.strip()]:
        found += _form(name, "--result-serializer")
    return tuple(dict.fromkeys(found))


def _form(name: str, option: str) -> tuple[str, ...]:
    from compute_nb import serialize

    plain = name.rpartition(".")[2]
    if plain in _FORMS:
        return _FORMS[plain]
    known = {known for known in serialize.__all__ if hasattr(getattr(serialize, known), "for_code")}
    if plain in known and getattr(serialize, plain).for_code:
        raise CellRefused(
            f"`{option} {name}` is for code, and a cell's code always travels as its text; for values there "
            f"are {JSON} and {PICKLE}"
        )
    told = nearest(plain, [*_FORMS]) or f"; there are {JSON} and {PICKLE}"
    raise CellRefused(f"`{option} {name}`: a cell's values can't travel by that{told}")
