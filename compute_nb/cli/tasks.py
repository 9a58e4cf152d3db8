"""This module is the commands `compute-nb tasks …`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import click

from compute_nb.cli.control import ask
from compute_nb.errors import ComputeError
from compute_nb.home import Home

_PART = 1_000
# How the last line of an error begins that only our client reads.
_FOR_PROGRAMS = "compute_nb:"
_OPEN = ("WAITING", "DELIVERED", "RUNNING")
_NO_VALUE = ("FAILED", "CANCELLED", "LOST")
_IDS = click.argument("ids", metavar="ID…", nargs=-1, required=True, type=click.UUID)
_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group("tasks")
def group() -> None:
    """List, show, cancel, retry, lose and delete tasks; an ID is that of a task or of a task group."""


@group.command("list")
@click.argument("task_group", required=False, type=click.UUID)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Rows.")
@_JSON
def list_tasks(task_group: UUID | None, limit: int, as_json: bool) -> None:
    """List your task groups, the newest first; with TASK_GROUP the tasks of that one."""
    if task_group is None:
        _list_groups(limit, as_json)
        return
    page = _ask("GET", f"/v3/compute_nb/taskgroup/{task_group}?limit={limit}")
    names = ("task_id", "state", "submitted_at", "started_at", "ended_at", "attempt", "retry_of")
    rows = [dict(zip(names, [*row, None][:7], strict=True)) for row in page["tasks"]]
    if as_json:
        click.echo(json.dumps({**page, "tasks": rows}, indent=1))
        return
    _table(
        ("task", "state", "submitted", "seconds"),
        [(row["task_id"], row["state"], _date(row["submitted_at"]), _seconds(row)) for row in rows],
    )
    if page["more"]:
        click.echo(f"the first {limit} of more: --limit shows up to 10000")


def _list_groups(limit: int, as_json: bool) -> None:
    groups = _ask("GET", f"/v3/compute_nb/groups?limit={limit}")["groups"]
    if as_json:
        click.echo(json.dumps(groups, indent=1))
        return
    if not groups:
        click.echo("no task groups")
        return
    _table(
        ("task group", "endpoint", "created", "states"),
        [
            (row["task_group_id"], row["endpoint_name"], _date(row["created_at"]), _counts(row["tasks"]))
            for row in groups
        ],
    )


@group.command()
@click.argument("task_id", type=click.UUID)
@_JSON
def show(task_id: UUID, as_json: bool) -> None:
    """Show one task: where it is, how it went, and the text of its error."""
    tasks, groups = _split([task_id])
    if groups:
        raise ComputeError(
            f"{task_id} is a task group: `compute-nb tasks list {task_id}` shows what is in it"
        )
    task = tasks[str(task_id)]
    if as_json:
        click.echo(json.dumps(task, indent=1))
        return
    ours = task["compute_nb"]
    _table(
        ("", ""),
        [
            ("task", str(task_id)),
            ("state", ours["state"]),
            ("task group", ours["task_group_id"]),
            ("endpoint", ours["endpoint_id"]),
            ("attempt", str(ours["attempt"] + 1)),
            *((what, _date(ours[f"{what}_at"])) for what in ("submitted", "started", "ended")),
            *([("error", ours["error_code"])] if ours["error_code"] else []),
        ],
    )
    if "exception" in task:
        lines = task["exception"].splitlines()
        click.echo("\n".join(line for line in lines if not line.startswith(_FOR_PROGRAMS)))
    elif "result" in task:
        click.echo(f"its value has {len(task['result']):,} characters; a reload in a notebook decodes it")


@group.command()
@_IDS
@_JSON
def cancel(ids: Sequence[UUID], as_json: bool) -> None:
    """Cancel open tasks: waiting ones never begin, running ones are killed."""
    tasks, groups = _split(ids)
    answers = [_ask("POST", "/v3/compute_nb/cancel", body) for body in _bodies(tasks, groups)]
    _tell(as_json, cancelled=sum(answer["cancelled"] for answer in answers))


@group.command()
@_IDS
@_JSON
def retry(ids: Sequence[UUID], as_json: bool) -> None:
    """Have tasks that gave no value run again, with the same inputs, as new tasks in their places."""
    from compute_nb.tasks import new_ids

    wanted = _of_state(*_split(ids), _NO_VALUE)
    pairs = [[task_id, str(new)] for task_id, new in zip(wanted, new_ids(len(wanted)), strict=True)]
    newest = [
        pair
        for part in _parts(pairs)
        for pair in _ask("POST", "/v3/compute_nb/retry", {"tasks": part})["newest"]
    ]
    asked = {new for _, new in pairs}
    _tell(as_json, retried=sum(new in asked for _, new in newest), newest=dict(newest) if as_json else None)


@group.command()
@_IDS
@_JSON
def lose(ids: Sequence[UUID], as_json: bool) -> None:
    """Give up open tasks whose endpoint will not come back: they end as LOST; a late value still counts."""
    wanted = _of_state(*_split(ids), _OPEN)
    answers = [_ask("POST", "/v3/compute_nb/lose", {"task_ids": part}) for part in _parts(wanted)]
    _tell(as_json, lost=sum(answer["lost"] for answer in answers))


def _age(_: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Returns seconds."""
    from compute_nb.cli.settings import span_s

    if value is None:
        return None
    if (seconds := span_s(value)) is None:
        raise click.BadParameter(f"{value!r}: write it like 30d or 12h", param=param)
    return seconds


@group.command()
@click.argument("ids", metavar="[ID…]", nargs=-1, type=click.UUID)
@click.option(
    "--older-than", "age_s", metavar="D", callback=_age, help="All that ended so long ago: 30d, 12h."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@_JSON
def delete(ids: Sequence[UUID], age_s: float | None, yes: bool, as_json: bool) -> None:
    """Delete tasks that have ended, with their arguments and values; open ones stay."""
    if bool(ids) == (age_s is not None):
        raise click.UsageError("say which: ids of tasks and task groups, or --older-than D")
    tasks, groups = _split(ids) if age_s is None else (_ended_before(time.time() - age_s), [])
    if not yes and sys.stdin.isatty():
        click.confirm(f"delete {len(tasks)} tasks and {len(groups)} task groups for good?", abort=True)
    answers = [_ask("POST", "/v3/compute_nb/delete", body) for body in _bodies(tasks, groups)]
    left = sum(answer["open"] for answer in answers)
    _tell(as_json, deleted=sum(answer["deleted"] for answer in answers), open=left)
    if left and not as_json:
        click.echo("open ones stay: `compute-nb tasks cancel` ends them first")


# -- what the commands share ----------------------------------------------------------------------


def _ask(method: str, path: str, body: object = None) -> Any:
    return ask(Home.default(), method, path, body, timeout_s=60.0)


def _split(ids: Sequence[UUID]) -> tuple[dict[str, Any], list[str]]:
    """Returns the tasks among the ids, as the service tells of them, and the task groups.

    Raises:
        ComputeError: One is neither.
    """
    texts = list(dict.fromkeys(map(str, ids)))
    tasks: dict[str, Any] = {}
    for part in _parts(texts):
        tasks |= _ask("POST", "/v2/batch_status", {"task_ids": part})["results"]
    groups = [text for text in texts if text not in tasks]
    for text in groups:
        try:
            _ask("GET", f"/v3/compute_nb/taskgroup/{text}?limit=1")
        except ComputeError as error:
            raise ComputeError(
                f"{text} is neither a task nor a task group of yours here ({error}): `compute-nb tasks list` "
                "shows what is"
            ) from error
    return tasks, groups


def _bodies(tasks: Iterable[str], groups: list[str]) -> Iterator[dict[str, Any]]:
    for part in _parts(list(tasks)):
        yield {"task_ids": part}
    for text in groups:
        yield {"task_group_id": text}


def _of_state(tasks: dict[str, Any], groups: list[str], states: Sequence[str]) -> list[str]:
    """Returns the ids of the tasks, also those in the groups, that are in one of these states."""
    found = [task_id for task_id, task in tasks.items() if task["compute_nb"]["state"] in states]
    found += [row[0] for text in groups for row in _rows(text) if row[1] in states]
    return list(dict.fromkeys(found))


def _ended_before(at: float) -> list[str]:
    """Returns the ids of the tasks that had ended then, of the newest 10,000 groups."""
    groups = _ask("GET", "/v3/compute_nb/groups?limit=10000")["groups"]
    old = [group["task_group_id"] for group in groups if group["created_at"] < at]
    return [row[0] for text in old for row in _rows(text) if row[1] not in _OPEN and row[4] and row[4] < at]


def _rows(task_group: str) -> Iterator[list[Any]]:
    """Yields id, state and times (submitted, started, ended) of the tasks of a group."""
    after, more = "", True
    while more:
        page = _ask("GET", f"/v3/compute_nb/taskgroup/{task_group}?limit=10000{after}")
        yield from page["tasks"]
        more = page["more"]
        after = f"&after={page['tasks'][-1][0]}" if more else ""


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _PART):
        yield items[start : start + _PART]


def _tell(as_json: bool, **facts: Any) -> None:
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(", ".join(f"{count} {what}" for what, count in facts.items() if count is not None))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=any(heads))
    for head in heads:  # ids are there to be copied: they are never cut
        table.add_column(head, no_wrap=head.startswith("task"), overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _counts(tasks: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in tasks.items()) or "none"


def _date(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _seconds(row: dict[str, Any]) -> str:
    if row["started_at"] is None or row["ended_at"] is None:
        return ""
    return f"{row['ended_at'] - row['started_at']:.3f}"
