"""This module is the strategies for code."""

from __future__ import annotations

import binascii
import inspect
import textwrap
from typing import Any

from compute_nb.errors import DeserializationError, SerializationError
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


class PureSourceTextInspect(SerializationStrategy):
    """The function's name and source text: runs under any Python version, brings no globals along."""

    identifier = "st\n"
    for_code = True

    def serialize(self, data: Any) -> str:
        """Returns name and source.

        Raises:
            SerializationError: It has no name by which its source defines it.
            OSError: Its source can't be found.
        """
        name = getattr(data, "__name__", "")
        if not name.isidentifier():
            raise SerializationError(
                f"{name or type(data).__name__} has no name to be called by: write it with `def`"
            )
        return source_buffer(name, textwrap.dedent(inspect.getsource(data)))

    def deserialize(self, payload: str) -> Any:
        """Runs the source in an empty namespace and returns what it calls by the name.

        Raises:
            DeserializationError: The buffer has no name, or the source doesn't define it.
        """
        name, found, source = _decoded(self.chomp(payload)).partition(":")
        namespace: dict[str, Any] = {}
        exec(compile(source, f"<source of {name}>", "exec"), namespace)
        if not found or name not in namespace:
            raise DeserializationError(f"the source defines no {name!r}")
        return namespace[name]


def source_buffer(name: str, source: str) -> str:
    """Returns the buffer for a function given by its source text."""
    return f"{PureSourceTextInspect.identifier}{name}:{source}"


def _decoded(text: str) -> str:
    # Some published versions write this strategy in base64, which never holds a colon.
    return text if ":" in text else binascii.a2b_base64(text).decode()
