"""This module is the pending marker: what stands under an output's name until its value is here.

A name changes only between cells, or inside a call that waits or asks for a value, so that no cell sees it
change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, MutableMapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, NoReturn

from compute_nb.errors import ComputeError
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.group import error_of
from compute_nb.notebook.runs.results import cell_result
from compute_nb.notebook.runs.run import Run, wait_for

_MISSING = object()
_MACHINERY = {"IPython", "ipykernel", "traitlets", "jedi", "debugpy", "asyncio", "inspect", "compute_nb"}


class OutputPending(CellRefused):
    """The value of an output is not here yet, so that nothing is computed with a stale one."""


def _raise(marker: Pending, mend: str = "") -> NoReturn:
    run: Run = marker._run
    error = _failure_of(marker)
    if error is not None:
        raise error.with_traceback(None)
    if run.ended:
        raise OutputPending(
            f"`{marker._name}` of {run.cell} is here; this only stood for it: use the name `{marker._name}`, "
            "which has the value from the next cell on, or `.result()` of this"
        )
    raise OutputPending(
        f"`{marker._name}` is being computed by {run.cell}, {run.progress()}; "
        f"`%compute wait`, `await` or `-w`{mend}"
    )


def _failure_of(marker: Pending) -> BaseException | None:
    """Returns why a marker's value will never come, None if it is here or may still come."""
    run: Run = marker._run
    if marker._error is not None or run.group is not None or not run.ended:
        error: BaseException | None = marker._error
        return error
    return error_of(run.futures[0]) if cell_result(run.futures[0]) is None else None


def _class_of(marker: Pending) -> type:
    """Answers `isinstance`: to the notebook's machinery, which looks at every name, and to nobody else."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == "abc" and frame.f_back is not None:
        frame = frame.f_back
    if str(frame.f_globals.get("__name__")).partition(".")[0] not in _MACHINERY:
        _raise(marker)
    return Pending


class Pending:
    """Stands for the value of an output. Any use but `repr`, `result()` and `previous` raises.

    After a failure the task's own error is raised instead.
    """

    __slots__ = ("_error", "_name", "_previous", "_run")

    __class__ = property(_class_of)  # isinstance, class patterns
    __dict__ = property(_raise)  # vars

    def __init__(self, name: str, run: Run, previous: Any) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "_previous", previous)
        object.__setattr__(self, "_error", None)

    def __repr__(self) -> str:
        run: Run = self._run
        error = _failure_of(self)
        if isinstance(error, CancelledError):
            told = ", cancelled"
        elif error is not None:
            told = f", failed: {type(error).__name__}"
        elif run.ended:
            told = f": its value is here, as `{self._name}` or by `.result()`"
        else:
            told = f", {run.progress()}"
        return f"<`{self._name}` of {run.cell}{told}>"

    @property
    def previous(self) -> Any:
        """What the name meant before.

        Raises:
            NameError: Nothing.
        """
        if self._previous is _MISSING:
            raise NameError(f"`{self._name}` had no value before {self._run.cell}")
        return self._previous

    def result(self, timeout: float | None = None) -> Any:
        """Returns the value; waits for it."""
        run = self._run
        run.thing.result(timeout) if run.group is not None else wait_for_value(run, timeout)
        run.arrive()
        return output_value(run, self._name)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        await self._run.thing
        self._run.arrive()
        return output_value(self._run, self._name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        _raise(self)

    def _compute_nb_use(self) -> None:
        """Called for a cell that reads this, which is refused as any other use is."""
        _raise(self, f"; or `{self._name} = {self._name}.result()` first")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        _raise(self)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def method(self: Pending, *_: Any, **__: Any) -> NoReturn:
        _raise(self)

    method.__name__ = name
    return method


_USES = """
call len iter next getitem setitem delitem contains bool str format bytes hash int float complex index eq ne
lt le gt ge add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor radd rsub rmul rmatmul
rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor iadd isub imul itruediv ifloordiv imod ipow
iand ior ixor neg pos abs invert round trunc floor ceil enter exit setattr delattr reversed array length_hint
copy deepcopy fspath aenter aexit aiter anext
"""
for _name in _USES.split():
    setattr(Pending, f"__{_name}__", _refusing(f"__{_name}__"))


Sequence.register(Pending)  # so that `case [a, b]` looks at it, and is refused


def wait_for_value(run: Run, timeout_s: float | None) -> None:
    """Blocks until the one task of a run has ended.

    Raises:
        TimeoutError: It took longer.
        TaskExecutionFailed: It has no value.
    """
    future = run.futures[0]
    if not future.done():
        wait_for(future, timeout_s if timeout_s is not None else 10**9)
    if not future.done():
        raise TimeoutError(f"{run.cell} has not ended within {timeout_s} s; it goes on")
    error = future.exception(0) if cell_result(future) is None else None
    if error is not None:
        raise error.with_traceback(None)


def output_value(run: Run, name: str) -> Any:
    """Returns the value of an output of a run that has ended; for a group the list, errors in their places.

    Raises:
        ComputeError: It could not be sent or can't be read here.
    """
    if run.group is None:
        return _one(run, 0, name)
    values = []
    for index, future in enumerate(run.futures):
        error = error_of(future) if cell_result(future) is None else None
        values.append(error if error is not None else _one_or_error(run, index, name))
    return values


def _one(run: Run, index: int, name: str) -> Any:
    result = cell_result(run.futures[index])
    if result is None:
        raise ComputeError(f"{run.cell} gave no `{name}`")
    return result.output(name, run.home)


def _one_or_error(run: Run, index: int, name: str) -> Any:
    try:
        return _one(run, index, name)
    except ComputeError as error:
        return error


class Outputs:
    """The outputs of all runs on their way into the namespace; the main thread's alone."""

    def __init__(self, namespace: MutableMapping[str, Any]) -> None:
        self._namespace = namespace
        self._waiting: list[tuple[Run, dict[str, Pending]]] = []
        self._placed: dict[str, tuple[Pending, Any]] = {}

    def promise(self, run: Run) -> None:
        """Binds each output of a run to a marker; the latest submit owns a name."""
        markers = {}
        for name in run.outputs:
            markers[name] = Pending(name, run, self._namespace.get(name, _MISSING))
            self._namespace[name] = markers[name]
        if markers:
            self._waiting.append((run, markers))

    def promise_again(self, run: Run) -> None:
        """Binds outputs of a run that is open again to markers, where the names still mean what it gave."""
        if any(waiting is run for waiting, _ in self._waiting):
            return
        markers = {}
        for name in run.outputs:
            marker = self._own(run, name)
            if marker is not None:
                object.__setattr__(marker, "_error", None)
                self._namespace[name] = markers[name] = marker
                self._placed.pop(name, None)
        run.left_alone.clear()
        self._waiting.append((run, markers))

    def _own(self, run: Run, name: str) -> Pending | None:
        """Returns the marker of a run's output if the name means it, or the value that took its place."""
        now = self._namespace.get(name)
        if type(now) is Pending:
            return now if now._run is run else None
        marker, value = self._placed.get(name, (None, None))
        return marker if marker is not None and marker._run is run and value is now else None

    def arrive(self) -> None:
        """Puts values in the place of markers of all runs that have ended."""
        ended = [entry for entry in self._waiting if entry[0].ended]
        self._waiting = [entry for entry in self._waiting if not entry[0].ended]
        for run, markers in ended:
            for name, marker in markers.items():
                if self._namespace.get(name) is marker:
                    self._place(run, name, marker)
                else:
                    run.left_alone.append(name)
            if run.left_alone:
                for told in list(run.on_left_alone):
                    told()

    def _place(self, run: Run, name: str, marker: Pending) -> None:
        if _failure_of(marker) is not None:
            return
        try:
            value = self._namespace[name] = output_value(run, name)
            if run.snapshot().state != "done":  # a retry may follow
                self._placed[name] = marker, value
        except ComputeError as problem:
            object.__setattr__(marker, "_error", problem)
