"""This module is the strategies for data."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

from compute_nb.serialize import pickled
from compute_nb.serialize.strategy import SerializationStrategy


class DillDataBase64(SerializationStrategy):
    """Pickles by dill; the default for data."""

    identifier = "00\n"
    for_code = False

    def serialize(self, data: Any) -> str:
        """Returns `data` pickled.

        Raises:
            TypeError: It is, or holds at its top, something that means nothing in another process.
        """
        if type(data) is dict and not data:
            return self.identifier + _NO_NAMES
        _refuse_bound(data)
        return self.identifier + pickled.to_text(data)

    def deserialize(self, payload: str) -> Any:
        """Unpickles; runs what the pickle says, so only for senders that are trusted."""
        return pickled.from_text(self.chomp(payload))


class JSONData(SerializationStrategy):
    """JSON text: runs nothing when it is read, and a tuple comes back as a list."""

    identifier = "11\n"
    for_code = False

    def serialize(self, data: Any) -> str:
        """Returns `data` as JSON."""
        return self.identifier + json.dumps(data)

    def deserialize(self, payload: str) -> Any:
        """Reads the JSON."""
        return json.loads(self.chomp(payload))

    def mend(self, data: Any) -> str:
        """Returns how the object becomes plain, or which strategy takes it as it is."""
        for way in ("tolist", "to_dict", "isoformat"):
            if hasattr(data, way):
                return f"send its `.{way}()`, or choose DillDataBase64"
        return "JSON has numbers, text, lists and dicts by text only: choose DillDataBase64, or send those"


# dill would make another lock of a lock, and open a file again by its name: neither is what was sent.
_BOUND = (type(threading.Lock()), type(threading.RLock()), io.IOBase)


_NO_NAMES = pickled.to_text({})  # what most calls have in place of named arguments


def _refuse_bound(data: Any) -> None:
    parts = data if isinstance(data, tuple | list) else (data,)
    for part in data.values() if isinstance(data, dict) else parts:
        if isinstance(part, _BOUND):
            raise TypeError(f"a {type(part).__name__} belongs to the process that made it")
