"""This module is the context of tasks on this host: working folder and import path of whoever submits."""

from __future__ import annotations

import os
import sys
from typing import Any

from compute_nb.errors import ComputeError


def here() -> tuple[str, ...]:
    """Returns the working folder, then the import path, as they are now.

    Raises:
        ComputeError: The folder was deleted, or its name can't be sent.
    """
    return folder(), *sys.path


def option(context: tuple[str, ...]) -> dict[str, Any]:
    """Returns what travels of `here()`."""
    cwd, *path = context
    texts = [entry for entry in path if isinstance(entry, str) and _is_utf_8(entry)]
    return {"cwd": cwd, "sys_path": [entry or cwd for entry in texts]}


def folder() -> str:
    """Returns the working folder, in which tasks on this host run; raises as `here`."""
    try:
        found = os.getcwd()
    except FileNotFoundError:
        raise ComputeError(
            "the working folder, in which tasks on this host run, was deleted: os.chdir to another one"
        ) from None
    if not _is_utf_8(found):
        raise ComputeError(f"the working folder {os.fsencode(found)!r} is no UTF-8 text: rename it")
    return found


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
