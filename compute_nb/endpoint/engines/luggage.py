"""This module is the luggage of a task that goes where there is nothing of ours: the runner's own text.

A visitor pickles as plain data and the builtin `eval`, so every Python can read it, with compute_nb or
without; called there, it is a function of the runner's `visit`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from compute_nb.endpoint.runner import keeper

_FOLDER = Path(keeper.__file__).parent
# The module is there or is made of its text; only a whole one can be found by another thread.
_EXPRESSION = (
    "(__import__('sys').modules.get(name) or [(exec("
    "__import__('json').loads(__import__('zlib').decompress(packed))['arrival.py'], module.__dict__), "
    "__import__('sys').modules.__setitem__(name, module)) "
    "for module in [__import__('types').ModuleType(name)]] and __import__('sys').modules[name])"
    ".Visitor(expression, name, packed, function)"
)


def visitor(function: str) -> Callable[..., Any]:
    """Returns what is given to a foreign pool to be called: `visit(setup, call)`, or `stop(task_id)`."""
    name, packed = luggage()
    facts = {"expression": _EXPRESSION, "name": name, "packed": packed, "function": function}
    made: Callable[..., Any] = eval(_EXPRESSION, facts)
    return made


@cache
def luggage() -> tuple[str, bytes]:
    """Returns a module name that no other version has, and the runner's files, packed."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("*.py"))}
    body = json.dumps(texts).encode()
    return f"_compute_nb_visit_{hashlib.sha256(body).hexdigest()[:12]}", zlib.compress(body, 9)
