"""This module is the strategies for code that travels as a pickle."""

from __future__ import annotations

from typing import Any, NoReturn

from compute_nb.errors import SerializationError
from compute_nb.serialize import pickled
from compute_nb.serialize.strategy import SerializationStrategy


class DillCode(SerializationStrategy):
    """Pickles by dill, with the globals that a function of `__main__` reads; the default for code.

    A function of an importable module travels as its name: the worker must have that module.
    """

    identifier = "01\n"
    for_code = True

    def serialize(self, data: Any) -> str:
        """Returns the callable pickled."""
        return self.identifier + pickled.to_text(data)

    def deserialize(self, payload: str) -> Any:
        """Unpickles the callable."""
        return pickled.from_text(self.chomp(payload))


class PickleCode(SerializationStrategy):
    """A pickle that an old peer wrote: it can be read, not written and not chosen."""

    identifier = "02\n"
    for_code = True
    selectable = False

    def serialize(self, data: Any) -> NoReturn:
        """Refuses.

        Raises:
            SerializationError: Always.
        """
        raise SerializationError("PickleCode can only be read: write with DillCode")

    def deserialize(self, payload: str) -> Any:
        """Unpickles the callable."""
        return pickled.from_text(self.chomp(payload))
