"""This module is the arrays of a pickle: numpy arrays that show the same memory do so on the other side.

By itself pickle copies what a view shows, and a change through one name would no longer be seen by the other.
Which arrays overlap is known when all have been met, so a pickle with such arrays is made a second time.
"""

from __future__ import annotations

from typing import Any


def is_array(thing: Any) -> bool:
    """Returns whether something is a plain numpy array; subclasses pickle as they say."""
    kind = type(thing)
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy"


def make_view(memory: Any, dtype: Any, shape: Any, strides: Any, offset: int, writable: bool) -> Any:  # noqa: PLR0917
    """Returns an array that shows a part of another's memory."""
    flat = memory.ravel(order="K")
    made = type(memory)(shape, dtype, flat, offset, strides)
    if not writable:
        made.flags.writeable = False
    return made


class Arrays:
    """The plain arrays of one pickle, by the array that owns their memory."""

    def __init__(self) -> None:
        self._met: dict[int, tuple[Any, list[Any]]] = {}
        self._shared: set[int] = set()

    def meet(self, array: Any) -> Any:
        """Returns how an array is rebuilt, NotImplemented for one that stands for itself."""
        owner = _owner(array)
        if array.size and not owner.dtype.hasobject:
            self._met.setdefault(id(owner), (owner, []))[1].append(array)
        if array is owner or id(owner) not in self._shared:
            return NotImplemented
        offset = _address(array) - _address(owner)
        shown = (array.dtype, array.shape, array.strides, offset, bool(array.flags.writeable))
        return (make_view, (owner, *shown))

    def again(self) -> bool:
        """Returns whether the pickle has to be made once more, now that it is known what is shared."""
        if self._shared:
            return False
        self._shared = {key for key, (owner, arrays) in self._met.items() if _overlap(owner, arrays)}
        return bool(self._shared)


def _owner(array: Any) -> Any:
    while is_array(array.base):
        array = array.base
    return array


def _overlap(owner: Any, arrays: list[Any]) -> bool:
    """Returns whether arrays show the same memory, and all of it is no more than they are one by one."""
    if len(arrays) < 2 or not (owner.flags.c_contiguous or owner.flags.f_contiguous):
        return False
    if not any(array is owner for array in arrays) and owner.nbytes > sum(array.nbytes for array in arrays):
        return False
    end = 0
    for start, stop in sorted(map(_span, arrays)):
        if start < end:
            return True
        end = max(end, stop)
    return False


def _span(array: Any) -> tuple[int, int]:
    """Returns the first address of an array and the one behind its last."""
    steps = [(size - 1) * stride for size, stride in zip(array.shape, array.strides)]  # noqa: B905 - Python 3.8
    start = _address(array)
    behind = sum(step for step in steps if step > 0) + array.itemsize
    return start + sum(step for step in steps if step < 0), start + behind


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
