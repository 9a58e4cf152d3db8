"""This module is the outcome: what a cell that waited for its tasks prints, shows, returns and raises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from compute_nb.errors import (
    ComputeError,
    DeserializationError,
    SerializationError,
    TaskExecutionFailed,
    TaskLost,
    WorkerDied,
)
from compute_nb.future import ComputeFuture
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs import failures, frames
from compute_nb.notebook.runs.results import cell_result, displayed, facts, harmless, losses, printed, said
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.view import drawing
from compute_nb.notebook.view.terminal import plain
from compute_nb.tasks import TaskState

_NAMED = 20

Show = Callable[[dict[str, Any], dict[str, Any]], None]


class StoppedWaiting(CellRefused):
    """A person interrupted a cell that waits; its tasks go on."""


def submitted(run: Run, *, shows_id: bool) -> str:
    """Returns what is said of a run that was accepted.

    Args:
        shows_id: Whether its task group is named: never where a run is compared with the last.
    """
    group = f", task group {run.task_group_id}" if shows_id and run.task_group_id else ""
    return f"{run.title}: {drawing.tasks(len(run.futures) - run.reused)} submitted to {run.endpoint}{group}"


def wait(run: Run, *, alone: bool) -> None:
    """Blocks until all tasks of a run have ended.

    Args:
        alone: Whether nobody is there: then each change of the run's state is said, in the same words
            every time.
    """
    if alone:
        say(submitted(run, shows_id=False))
    run.wait(say)
    if alone:
        say(f"{run.title}: {run.snapshot().state}")


def stopped(run: Run) -> str:
    """Returns how to go on after an Interrupt."""
    return (
        f"stopped waiting, {run.progress()}; the tasks go on: `%compute wait {run.handle}` waits again, "
        f"`%compute cancel {run.handle}` ends them"
    )


def print_all(run: Run, show: Show) -> None:
    """Prints and shows what the tasks printed and displayed, in map order."""
    for future in run.futures:
        _print_items(future, show)


def print_one(future: ComputeFuture, show: Show) -> None:
    """Prints and shows what one task left: its text, its displays, its value or its traceback."""
    if not future.done():
        if text := plain(said(future)):
            print(text, flush=True)  # noqa: T201 - asked for
        return
    _print_items(future, show)
    if text := failures.text_of(future).rstrip():
        print(text, flush=True)  # noqa: T201 - asked for
    for line in losses(future):
        print(line, flush=True)  # noqa: T201 - asked for
    _show_display(future, show)


def task_line(run: Run, index: int) -> str:
    """Returns how one task stands."""
    point = run.point(index)
    return f"{run.title}[{index}]{' ' + point if point else ''}: {run.futures[index].state.word}"


def _print_items(future: ComputeFuture, show: Show) -> None:
    items = facts(future).get("items") or ()
    if not items and (text := plain(said(future))):  # it was ended before it could bring its text
        print(text.rstrip("\n"), flush=True)  # noqa: T201 - as its items below
    for item in items:
        for stream, text in printed([item]):
            # At once: two streams that are sent later would come in no order.
            print(text, end="", file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)
        for data, metadata in displayed([item]):
            show(data, metadata)


def value_of(run: Run, show: Show, *, alone: bool) -> Any:
    """Returns the value of a run that has ended, as the cell's own.

    Args:
        alone: Whether no panel says which tasks failed.

    Raises:
        TaskExecutionFailed: A task failed; shown by its remote traceback.
        CellRefused: A task was cancelled.
    """
    error = _failure(run, alone)
    if error is not None:
        raise error
    for line in run.loss_lines():
        say(f"{run.title}: {line}")
    if not run.shows:
        return None
    if run.group is not None:
        return _group_value(run, show)
    return _value(run, run.futures[0], show)


def _group_value(run: Run, show: Show) -> Any:
    values = []
    for index, future in enumerate(run.futures):
        try:
            values.append(future.result(0))
        except ComputeError as problem:
            if not losses(future):  # told below, with those of `-o`
                say(f"{run.point(index) or index}: {problem}")
            values.append(problem)
        else:
            if values[-1] is None:
                _show_display(future, show)
    return values


def _value(run: Run, future: ComputeFuture, show: Show) -> Any:
    value = None
    try:
        value = future.result(0)
    except SerializationError:  # told with those of `-o`
        pass
    except DeserializationError as problem:
        say(str(problem))
    if value is None:
        _show_display(future, show)
    return value


def _show_display(future: ComputeFuture, show: Show) -> None:
    """Shows what the worker made of a value that is not here; of a figure nothing but that travels."""
    result = cell_result(future)
    if result is not None and result.display:
        data, metadata = result.display
        if data := harmless(data):  # else it was too large, which is said
            show(data, metadata)


def has_displayed_itself(run: Run, value: Any) -> bool:
    """Returns whether a value has shown itself on the worker, among what was printed and displayed."""
    if run.group is not None or not callable(getattr(type(value), "_ipython_display_", None)):
        return False
    result = cell_result(run.futures[0])
    return result is not None and result.display is None


def say(text: str) -> None:
    """Prints what a cell says to people, at once."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - asked for


def _failure(run: Run, alone: bool) -> BaseException | None:
    """Returns the error to raise for a run, None if all tasks succeeded."""
    bad = [(i, f) for i, f in enumerate(run.futures) if f.state is not TaskState.SUCCEEDED]
    if not bad:
        return None
    if run.group is not None and alone:
        named = run.group.points_of([index for index, _ in bad[:_NAMED]])
        for point, (_, future) in zip(named, bad[:_NAMED], strict=True):
            say(f"{point}: {failures.reason(future)}")
    if all(future.state is TaskState.CANCELLED for _, future in bad):
        return CellRefused(f"{len(bad)} of {len(run.futures)} tasks were cancelled")
    first = next((future for _, future in bad if future.state is not TaskState.CANCELLED), run.futures[0])
    mend = f"`%compute tb {run.handle}` shows them"
    return readable(
        _first_error(run),
        lambda colours: frames.drawn(facts(first).get("trace"), mend, colours),
        final_line(run) if alone else "",
    )


def _first_error(run: Run) -> BaseException:
    error = run.group.first_error() if run.group is not None else run.futures[0].exception(0)
    return error or ComputeError(f"{run.title} failed for no reason that is known")


def readable(
    error: BaseException, drawn: Callable[[frames.Colours], str | None] = lambda _: None, whose: str = ""
) -> BaseException:
    """Returns the error such that IPython shows what happened on the worker, not our frames.

    Args:
        drawn: Draws the frames there; None if they are not known, and the remote text has to do.
        whose: Names what failed, for programs that keep nothing of the cell but its error.
    """
    if isinstance(error, SyntaxError) and isinstance(error, TaskExecutionFailed):
        # IPython draws these by itself, with our frames: as what it is remotely it is drawn from its text.
        plain = TaskExecutionFailed(error.remote_data, error.completion_t)
        plain.__notes__ = [*getattr(error, "__notes__", ())]
        error = plain
    kind = type(error).__name__
    text = error.remote_data if isinstance(error, TaskExecutionFailed) else f"{kind}: {error}"
    if isinstance(error, TaskLost | WorkerDied) and kind not in text.partition("\n")[0]:
        text = f"{kind}: {text}"
    notes = [*getattr(error, "__notes__", ()), *filter(None, [whose])]
    error._render_traceback_ = lambda: [  # type: ignore[attr-defined]
        drawn(_colours()) or text.strip("\n"),
        *notes,
    ]
    return error


def _colours() -> frames.Colours:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return frames.colours_of(str(getattr(shell, "colors", "nocolor")).lower())


def final_line(run: Run) -> str:
    """Returns the one line that a run without a person at it ends with."""
    return drawing.line(run, run.snapshot())
