"""This module is the nesting of event loops: `asyncio.run` in a cell, for who has asked for it."""

from __future__ import annotations

import asyncio
from typing import Any

from compute_nb.notebook.refusal import CellRefused

_OFF = "`%config ComputeMagics.nest_asyncio = False` keeps it off, and `await future` works without it"


def check_nesting() -> None:
    """Returns if the running loop can be patched.

    Raises:
        CellRefused: It can't, or nest_asyncio is not there.
    """
    loop = _loop()
    kind = type(loop)
    if loop is not None and not isinstance(loop, asyncio.BaseEventLoop):
        name = f"{kind.__module__}.{kind.__qualname__}"
        what = "uvloop" if kind.__module__.partition(".")[0] == "uvloop" else name
        raise CellRefused(
            f"ComputeMagics.nest_asyncio: this kernel's event loop is {what}, which can't be patched; {_OFF}"
        )
    try:
        import nest_asyncio  # noqa: F401 - whether it is there
    except ImportError:
        raise CellRefused(f"ComputeMagics.nest_asyncio: `%pip install nest-asyncio` first; {_OFF}") from None


def nest() -> None:
    """Patches asyncio of this process for good."""
    import nest_asyncio

    nest_asyncio.apply(_loop())


def _loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
