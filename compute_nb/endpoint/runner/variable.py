"""This module is a variable of the environment that each task finds with another value."""

from __future__ import annotations

import os
import sys
from typing import Any


class Variable:
    """A variable whose value changes in place: libc keeps every text that `os.putenv` gives it, for ever.

    Args:
        name: Its name.
        size: How long every value is.
    """

    def __init__(self, name: bytes, size: int) -> None:
        self.name, self.size = name, size
        self.text: Any = None
        self.value: Any = None
        try:
            self.own_text()
        except (ImportError, OSError, AttributeError, TypeError, ValueError):
            self.text = None

    def own_text(self) -> None:
        """Makes a text that is ours, where libc takes one as it is."""
        if sys.platform != "linux":
            return
        import ctypes

        self.text = ctypes.create_string_buffer(self.name + b"=" + b"-" * self.size)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.text))  # a forked child reads it to its very end
        self.value = memoryview(self.text).cast("B")[len(self.name) + 1 : -1]
        self.putenv = ctypes.CDLL(None).putenv

    def attach(self) -> None:
        """Puts it into the environment, from which a task may have taken it."""
        if self.text is not None:
            self.putenv(self.text)

    def set(self, value: bytes) -> None:
        """Changes its value."""
        if self.text is not None and len(value) == self.size:
            self.value[:] = value
        else:
            os.putenv(self.name, value)
