"""This module is the trace of an error: its frames with the source around them, as plain data.

What draws it is where the notebook is, which knows its colours; the worker has the source.
"""

from __future__ import annotations

import dis
import itertools
import linecache
import os
import traceback
import types
from collections import Counter
from typing import Any

from .source import walk_code

AROUND = 2  # lines of source before and after the one that was running, blank ones apart
_REACH = 8  # among so many
_ERRORS = 20  # of one chain
_FRAMES = 200  # of one error, where most are folded anyway
_TIMES = 2  # a line is shown so often, then folded
_CHARACTERS = 500  # of one line of source


def trace_of(error: BaseException, hidden: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """Returns an error and those that led to it, the first one first; None where a group is among them.

    Args:
        error: As it was caught.
        hidden: Files whose frames are marked as ours.
    """
    chain: list[dict[str, Any]] = []
    seen: set[int] = set()
    found: BaseException | None = error
    led = ""
    while found is not None and id(found) not in seen and len(chain) < _ERRORS:
        seen.add(id(found))
        if isinstance(getattr(found, "exceptions", None), tuple):
            return None
        told = traceback.TracebackException(type(found), found, None)
        text = "".join(told.format_exception_only()).rstrip("\n")
        frames = _frames(found.__traceback__, hidden)
        chain.append({"type": type(found).__qualname__, "text": text, "led": led, "frames": frames})
        if found.__cause__ is not None:
            led, found = "cause", found.__cause__
        else:
            led, found = "context", None if found.__suppress_context__ else found.__context__
    return chain[::-1]


def _frames(place: types.TracebackType | None, hidden: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the frames of one error; of a line that comes again and again the first and the last."""
    times: Counter[tuple[types.CodeType, int]] = Counter()
    frames: list[dict[str, Any]] = []
    while place is not None:
        code = place.tb_frame.f_code
        key = (code, place.tb_lineno)
        times[key] += 1
        last = place.tb_next is None
        if last or (times[key] <= _TIMES and len(frames) < _FRAMES):
            frames.append(_frame(place, code.co_filename in hidden))
        elif "folded" in frames[-1]:
            frames[-1]["folded"] += 1
        else:
            frames.append({"folded": 1, "name": code.co_name, "line": place.tb_lineno})
        place = place.tb_next
    return frames


def _frame(place: types.TracebackType, own: bool) -> dict[str, Any]:
    code, line = place.tb_frame.f_code, place.tb_lineno
    first, lines = _source(place.tb_frame, line)
    home = os.path.expanduser("~") + os.sep
    file = code.co_filename
    return {
        "file": "~" + os.sep + file[len(home) :] if file.startswith(home) else file,
        "line": line,
        "name": getattr(code, "co_qualname", code.co_name),
        "call": _call(code),
        "first": first,
        "lines": lines,
        "mark": _mark(place, lines[line - first]) if lines else None,
        "own": own,
    }


def _source(frame: types.FrameType, line: int) -> tuple[int, list[str]]:
    """Returns the lines around one, blank ends left off, and the number of the first."""
    linecache.checkcache(frame.f_code.co_filename)
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    if not 0 < line <= len(lines):
        return line, []
    first = last = line
    top, bottom = _reach(frame.f_code, line, len(lines))
    for number in range(line - 1, top - 1, -1):
        if lines[number - 1].strip() and sum(map(_says, lines[number : line - 1])) < AROUND:
            first = number
    for number in range(line + 1, bottom + 1):
        if lines[number - 1].strip() and sum(map(_says, lines[line : number - 1])) < AROUND:
            last = number
    return first, [text.rstrip("\r\n")[:_CHARACTERS] for text in lines[first - 1 : last]]


def _reach(code: types.CodeType, line: int, count: int) -> tuple[int, int]:
    """Returns the first and the last line that may be shown: of a function none but its own."""
    top, bottom = max(1, line - _REACH), min(count, line + _REACH)
    if code.co_name == "<module>":
        return top, bottom
    own = [number for part in walk_code(code) for _, number in dis.findlinestarts(part) if number]
    return max(top, code.co_firstlineno), max(line, min(bottom, max(own, default=line)))


def _says(line: str) -> bool:
    return bool(line.strip())


def _call(code: types.CodeType) -> str:
    """Returns "(a, key, *rest)" of a function, "" of a module."""
    if code.co_name == "<module>":
        return ""
    count = code.co_argcount + code.co_kwonlyargcount
    names, extra = list(code.co_varnames[:count]), list(code.co_varnames[count:])
    if code.co_flags & 4:
        names.append("*" + extra.pop(0))
    if code.co_flags & 8:
        names.append("**" + extra.pop(0))
    return "(" + ", ".join(names) + ")"


def _mark(place: types.TracebackType, text: str) -> list[int] | None:
    """Returns from where to where in its line something was running, where this Python knows (3.11)."""
    positions = getattr(place.tb_frame.f_code, "co_positions", None)
    if positions is None:
        return None
    found = next(itertools.islice(positions(), place.tb_lasti // 2, None), (None,) * 4)
    start_line, end_line, start, end = found
    if start is None or end is None or start_line != place.tb_lineno:
        return None
    raw = text.encode("utf-8", "surrogatepass")
    stop = len(raw) if end_line != start_line else end
    first, last = (len(raw[:at].decode("utf-8", "replace")) for at in (start, stop))
    return [first, last]
