"""This module is the voice of running tasks: what they print, sent to the agent if that is on this machine.

A datagram is JSON of task id, how many characters came before, and text. It is a preview: nobody waits.
"""

from __future__ import annotations

import json
import socket
from typing import Any

LAST_CHARS = 16_384
LAST_S = 0.5  # that the last words of a task may take


class Voice:
    """Speaks to the agent's ear.

    Args:
        path: Of its socket, None if it has none.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.unsaid: dict[str, tuple[int, str]] = {}
        self.socket: Any = None
        if path is not None and hasattr(socket, "AF_UNIX"):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.setblocking(False)

    def say(self, task_id: str, start: int, text: str, is_last: bool = False) -> None:
        """Sends text of a task, together with what could not be sent before."""
        if self.socket is None:
            return
        start, text = joined(self.unsaid.pop(task_id, None), (start, text))
        try:
            if is_last:
                self.socket.settimeout(LAST_S)
            said = json.dumps([task_id, start, text], ensure_ascii=False)
            self.socket.sendto(said.encode("utf-8", "surrogatepass"), self.path)
        except (BlockingIOError, socket.timeout):
            if not is_last:
                self.unsaid[task_id] = start, text
        except OSError:  # the agent is on another machine, or gone
            pass
        finally:
            self.socket.setblocking(False)

    def close(self) -> None:
        """Says nothing more."""
        if self.socket is not None:
            self.socket.close()


def joined(first: tuple[int, str] | None, second: tuple[int, str]) -> tuple[int, str]:
    """Returns two pieces of a task's text as one, the last part of what is much."""
    start, text = second
    if first is not None and first[0] + len(first[1]) == start:
        start, text = first[0], first[1] + text
    if len(text) > LAST_CHARS:
        start, text = start + len(text) - LAST_CHARS, text[-LAST_CHARS:]
    return start, text
