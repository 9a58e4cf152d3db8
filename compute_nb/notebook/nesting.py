"""This module is the nesting of event loops: `asyncio.run` in a cell, for who has asked for it."""

from __future__ import annotations

import asyncio
from typing import Any


def why_not() -> str:
    """Returns why the running loop can't be patched, and the way out; "" if it can."""
    loop = _loop()
    kind = type(loop)
    if loop is not None and not isinstance(loop, asyncio.BaseEventLoop):
        name = f"{kind.__module__}.{kind.__qualname__}"
        what = "uvloop" if kind.__module__.partition(".")[0] == "uvloop" else name
        return f"this kernel's event loop is {what}, which can't be patched; `await future` works without it"
    try:
        import nest_asyncio  # noqa: F401 - whether it is there
    except ImportError:
        return "`%pip install nest-asyncio` first; `await future` works without it"
    return ""


def nest() -> None:
    """Patches asyncio of this process for good."""
    import nest_asyncio

    nest_asyncio.apply(_loop())


def _loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
