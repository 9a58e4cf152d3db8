"""This module is the global names of code: what it reads and binds in its module when it is called."""

from __future__ import annotations

import dis
from types import CodeType

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"})
_WRITES = frozenset({"STORE_GLOBAL"})


def global_reads(code: CodeType) -> set[str]:
    """Returns the global names that this code reads; code inside it is not looked at."""
    return {step.argval for step in dis.get_instructions(code) if step.opname in _READS}


def global_writes(code: CodeType) -> set[str]:
    """Returns the global names that this code binds; code inside it is not looked at."""
    return {step.argval for step in dis.get_instructions(code) if step.opname in _WRITES}
