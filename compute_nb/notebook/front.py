"""This module is the front end: who looks at this kernel, and what can be shown there."""

from __future__ import annotations

import re
import sys
from enum import Enum
from types import FrameType
from typing import Any

_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Front(Enum):
    """Who looks at the output of a cell."""

    PERSON = "a notebook with a person at it"
    HEADLESS = "a program that runs a notebook"
    TERMINAL = "IPython in a terminal, or no front end at all"


def front_of(shell: Any) -> Front:
    """Returns who looks at the cell that runs now: programs say that nobody can be asked for input."""
    parent = _parent(shell)
    if parent is None:
        return Front.TERMINAL
    asks = parent.get("content", {}).get("allow_stdin", True)
    return Front.PERSON if asks else Front.HEADLESS


def cell_id_of(shell: Any) -> str | None:
    """Returns nbformat's id of the cell that runs now, None if the front end sends none that is valid."""
    found = ((_parent(shell) or {}).get("metadata") or {}).get("cellId")
    return found if isinstance(found, str) and _CELL_ID.fullmatch(found) else None


def cell_of(shell: Any) -> str:
    """Returns "In[7]", what IPython calls the cell that runs now: nbval keeps no history, and so no count."""
    found = f"In[{shell.displayhook.prompt_count}]"
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        _, label = shell.compile.format_code_name(frame.f_code.co_filename) or ("", "")
        found, frame = label or found, frame.f_back
    return found


def client_of(shell: Any) -> str | None:
    """Returns the client id of the page whose cell runs now, None if that is not known."""
    found = ((_parent(shell) or {}).get("header") or {}).get("session")
    return found if isinstance(found, str) else None


def cell_source_of(shell: Any) -> str:
    """Returns the whole source of the cell that runs now, as the front end has sent it."""
    found = ((_parent(shell) or {}).get("content") or {}).get("code")
    return found if isinstance(found, str) else ""


def _parent(shell: Any) -> dict[str, Any] | None:
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return None
    parent = kernel.get_parent()
    return parent if isinstance(parent, dict) else {}
