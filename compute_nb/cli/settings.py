"""This module is the settings of `service run`, `start` and `restart`: their options, and what holds else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from compute_nb import logline
from compute_nb.cli import broker
from compute_nb.home import Home
from compute_nb.service.config import Limits
from compute_nb.service.habits import Habits

_TIMES = re.compile(r"(\d{1,6})([dh]?)(?:,(\d{1,6})([dh]?))?")
_UNITS = {"d": 86_400.0, "h": 3_600.0}


def _home(_: click.Context, __: click.Parameter, value: Path | None) -> Home:
    return Home(value.expanduser().absolute()) if value else Home.default()


HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_home,
    help="Home folder; default: COMPUTE_NB_HOME, else the platform's user data folder.",
)

_PEM = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True, resolve_path=True)
_DEFAULT_LIMITS = asdict(Limits())
_KINDS: dict[str, Callable[[str], float]] = {
    name: int if isinstance(default, int) else float for name, default in _DEFAULT_LIMITS.items()
}


def _limits(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    given: dict[str, float] = {}
    for text in values:
        name, *number = text.split("=", 1)
        try:
            given[name] = _KINDS[name]("".join(number))
            if not 0 <= given[name] < math.inf:
                raise ValueError(text)
        except (KeyError, ValueError):
            known = ", ".join(f"{name}={default:g}" for name, default in _DEFAULT_LIMITS.items())
            raise click.BadParameter(
                f"{text!r}: say NAME=NUMBER; the defaults are {known}", param=param
            ) from None
    if given.get("request_mb") == 0:
        raise click.BadParameter("request_mb=0: a request must have some limit", param=param)
    return given


def _retention(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Checks it here, since a service in the background could not show how it is written."""
    if value is not None:
        kept(value)
    return value


def _expiry(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not span_s(value):
        raise click.BadParameter(f"{value!r}: write it like 14d or 12h, more than nothing", param=param)
    return value


def span_s(text: str) -> float | None:
    """Returns what `14d` says in seconds, None if that is no time."""
    match = _TIMES.fullmatch(text)
    return None if match is None or match[3] else float(match[1]) * _UNITS[match[2] or "d"]


def kept(text: str) -> Any:
    """Returns what `30d,180d` says; hours are `12h`, and a number alone is days."""
    from compute_nb.service.retention import Retention

    match = _TIMES.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r}: write it like 30d or 12h, or two of them like 30d,180d")
    fetched, unit, unfetched, second = match.groups()
    kept = Retention(float(fetched) * _UNITS[unit or "d"])
    if unfetched is None:
        return replace(kept, unfetched_s=max(kept.unfetched_s, kept.fetched_s))
    return replace(kept, unfetched_s=float(unfetched) * _UNITS[second or "d"])


def shared(command: Any) -> Any:
    """Adds the options that `run`, `start` and `restart` share."""
    for option in (
        click.option(
            "--host",
            help="Address to listen on, at first 127.0.0.1; any but loopback needs --tls-cert, --tls-key.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="Of the web API; default: that of last time."
        ),
        click.option("--amqp-port", type=click.IntRange(0, 65535), help="Of the broker; likewise."),
        click.option(
            "--durability",
            type=click.Choice(["power", "process"]),
            help="What an accepted task survives: a power cut (at first), or kill -9 only (faster).",
        ),
        click.option(
            "--plain/--no-plain",
            default=None,
            help="Speak the published protocol only, without our extensions; default: as last time.",
        ),
        click.option("--tls-cert", type=_PEM, help="Certificate, with those above it: https and amqps."),
        click.option("--tls-key", type=_PEM, help="Its key, without a password."),
        click.option("--public-url", help="Where clients reach the web API: https://NAME[:PORT]."),
        click.option(
            "--limit",
            "limits",
            multiple=True,
            metavar="NAME=N",
            callback=_limits,
            help=f"Of each user, 0 for none: {', '.join(_DEFAULT_LIMITS)}.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(logline.LEVELS),
            help=f"debug follows each task; {logline.VARIABLE} may say it too, at first it is info.",
        ),
        click.option(
            "--log-json/--no-log-json",
            default=None,
            help=f"A JSON object a line in the log; {logline.VARIABLE} may say it too.",
        ),
        click.option(
            "--store",
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE, its password in ~/.pgpass or PGPASSWORD; or sqlite; "
            "default: as last time.",
        ),
        click.option(
            "--retention",
            metavar="D[,D]",
            callback=_retention,
            help="How long values are kept once fetched, and if never; at first 30d,180d, then as last time.",
        ),
        click.option(
            "--expire",
            metavar="D",
            callback=_expiry,
            help="How long a task may stay open before it is given up; at first 14d, then as last time.",
        ),
        *broker.OPTIONS,
        HOME,
    ):
        command = option(command)
    return command


def settled(given: Mapping[str, Any], habits: Habits) -> dict[str, Any]:
    """Returns all settings: where none is given those of the environment, else of `habits`.

    Args:
        given: As `shared` has them parsed; None is not given. Of `limits` each stands for itself.
        habits: What holds otherwise.
    """
    level, as_json = logline.said()
    usual = asdict(habits) | {"limits": replace(habits.limits, **given["limits"])}
    usual |= {"log_level": level or habits.log_level, "log_json": as_json or habits.log_json}
    if given["broker"] is not None:
        usual["amqp_public_url"] = None  # what there was is the address of another broker
    told = {name: value for name, value in given.items() if value is not None or name not in usual}
    return {**usual, **told, "limits": usual["limits"]}


def words(name: str, value: object) -> list[str]:
    """Returns a setting as the command line says it."""
    option = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, Limits):
        changed = asdict(value).items() - _DEFAULT_LIMITS.items()
        return [f"--limit={key}={number}" for key, number in sorted(changed)]
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}={value}"]
