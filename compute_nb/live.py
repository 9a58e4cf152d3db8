"""This module is the live text of a task: what its present attempt has printed so far, as far as it was told.

It is a preview: pieces may be missing, and what a cell gives back at its end holds the whole of it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace

GAP = re.compile(r"\[\.\.\. ([\d,]+) characters left out \.\.\.\]")  # stands in a line of its own
KEPT = 32_768  # characters of the beginning, and as many of the end
KEPT_ENDED = 8_192  # the same, once a task has ended: there may be many


@dataclass(frozen=True, slots=True)
class LiveText:
    """What one attempt of a task has printed; frozen, so that any thread may read it.

    Attributes:
        attempt: 0 for the first.
        head: Its beginning, as far as nothing of it is missing.
        tail: Its end, if that is not in `head`.
        left_out: How many characters are missing between both.
        end: How many characters were printed in all.
        heard_at: When it grew last, on the monotonic clock.
    """

    attempt: int
    head: str = ""
    tail: str = ""
    left_out: int = 0
    end: int = 0
    heard_at: float = 0.0

    @property
    def text(self) -> str:
        """All that is here, with a note of what is not."""
        note = f"\n[... {self.left_out:,} characters left out ...]\n" if self.left_out else ""
        return self.head + note + self.tail

    def more(self, start: int, text: str) -> LiveText:
        """Returns it with a piece added; a piece that came before adds nothing.

        Args:
            start: How many characters the attempt had printed before.
        """
        text = text[max(0, self.end - start) :]
        if not text:
            return self
        end, gap = start + max(0, self.end - start) + len(text), max(0, start - self.end)
        head, tail, left_out = self.head, self.tail, self.left_out
        if gap:
            left_out, tail = left_out + len(tail) + gap, ""
        elif not left_out and not tail:
            room = KEPT - len(head)
            head, text = head + text[:room], text[room:]
        tail += text
        over = max(0, len(tail) - KEPT)
        left_out += over
        return replace(
            self, head=head, tail=tail[over:], left_out=left_out, end=end, heard_at=time.monotonic()
        )

    def ended(self) -> LiveText:
        """Returns beginning and end, for a task that has ended and whose text nobody brings any more."""
        head, tail = self.head, self.tail
        if not self.left_out:  # one text, which reads on from the one to the other
            head, tail = head + tail, ""
            if len(head) > 2 * KEPT_ENDED:
                head, tail = head[:KEPT_ENDED], head[-KEPT_ENDED:]
        else:
            head, tail = head[:KEPT_ENDED], tail[-KEPT_ENDED:]
        left_out = self.end - len(head) - len(tail)
        return replace(self, head=head, tail=tail, left_out=left_out)
