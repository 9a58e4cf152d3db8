"""This module is the agent's end of the lines to workers of Parsl, which can't take back what it was given.

A worker calls when tasks come to it for the first time (`runner.line`). It is asked to end a task, and says
whether it had it; it tells ends ahead of Parsl. Nothing depends on a line but how soon that is.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

ANSWER_S = 2.0
MAX_LINES = 1024
MAX_GONE = 10_000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Question:
    """A task that is to end, and the workers that have not answered whether they had it."""

    name: str
    due: float
    asked: set[bytes] = field(default_factory=set)


class Lines:
    """Owns the thread `parsl-lines` and the socket that workers call.

    Args:
        addresses: Where this machine can be reached from workers.
        ports: First and last of those that may be used.
        on_ends: Called on the thread with ends that workers tell ahead.
        on_absent: Called on the thread with the name of a task that no worker had which was asked, and how
            many those were.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        ports: tuple[int, int],
        on_ends: Callable[[Sequence[Any]], None],
        on_absent: Callable[[str, int], None],
    ) -> None:
        import zmq

        self._on_ends, self._on_absent = on_ends, on_absent
        self._token = secrets.token_hex(16)
        server, secret = zmq.curve_keypair()
        keys = zmq.curve_keypair()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger, self._socket.ipv6, self._socket.router_mandatory = 0, True, True
        self._socket.curve_server, self._socket.curve_secretkey = True, secret
        hosts = [f"[{one}]" if ":" in one else one for one in addresses]
        place = hosts[0] if len(hosts) == 1 else "*"
        port = self._socket.bind_to_random_port(f"tcp://{place}", *ports)
        self.facts = {
            "urls": [f"tcp://{host}:{port}" for host in hosts],
            "server": server.decode(),
            "keys": [key.decode() for key in keys],
            "token": self._token,
        }
        self._bell, self._ear = self._context.socket(zmq.PUSH), self._context.socket(zmq.PULL)
        self._ear.bind("inproc://bell")
        self._bell.connect("inproc://bell")
        self._lines: set[bytes] = set()
        self._questions: dict[str, Question] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="parsl-lines", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many workers have called; from any thread."""
        return len(self._lines)

    def end(self, name: str) -> None:
        """Has a task ended where it is; called by the owner alone."""
        self._bell.send_string(name)

    def close(self) -> None:
        """Ends the thread; called by the owner alone."""
        self._bell.send_string("")
        self._thread.join()
        self._bell.close()
        self._context.term()

    # the thread

    def _run(self) -> None:
        import zmq

        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._ear, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(self._pause_ms()))
            if self._ear in ready:
                name = self._ear.recv_string()
                if not name:
                    break
                self._ask(name)
            if self._socket in ready:
                self._hear(*self._socket.recv_multipart())
            now = time.monotonic()
            for question in [one for one in self._questions.values() if now >= one.due or not one.asked]:
                self._absent(question)
        self._socket.close()
        self._ear.close()

    def _pause_ms(self) -> int | None:
        dues = [question.due for question in self._questions.values()]
        return int(max(0.0, min(dues) - time.monotonic()) * 1000) + 1 if dues else None

    def _ask(self, name: str) -> None:
        self._questions[name] = question = Question(name, time.monotonic() + ANSWER_S)
        question.asked = {one for one in tuple(self._lines) if self._send(one, [name])}

    def _send(self, worker: bytes, names: Sequence[str]) -> bool:
        import zmq

        try:
            self._socket.send_multipart([worker, json.dumps(names).encode()], zmq.NOBLOCK)
        except zmq.ZMQError:  # it is gone, or takes nothing
            self._lines.discard(worker)
            return False
        return True

    def _hear(self, worker: bytes, *frames: bytes) -> None:
        try:
            token, kind, content = json.loads(frames[-1])
            known = secrets.compare_digest(token, self._token)
        except (ValueError, TypeError, IndexError, RecursionError):
            known = False
        if not known:
            _log.warning("a caller on the line of Parsl's workers is none of them: it is not heard")
            return
        try:
            self._do(worker, kind, content)
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # a task has found the line
            _log.warning("a worker of Parsl says what can't be read (%s): it is not heard", error)

    def _do(self, worker: bytes, kind: str, content: Any) -> None:
        if kind == "hello":
            if len(self._lines) < MAX_LINES:
                self._lines.add(worker)
                self._send(worker, [*self._questions, *self._gone])
        elif kind == "ends":
            self._on_ends(content)
        elif kind == "asked":
            name, had = content
            question = self._questions.get(name)
            if question is not None:
                question.asked.discard(worker)
                if had:
                    del self._questions[name]

    def _absent(self, question: Question) -> None:
        """All have said that they had it not, or some say nothing."""
        del self._questions[question.name]
        self._gone[question.name] = None  # who calls later is not to begin it
        while len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)
        self._on_absent(question.name, 0 if question.asked else len(self._lines))
