"""This module is the line from a worker of Parsl to the agent: ends go up it ahead of time, stops come down.

It is there where `zmq` is, which Parsl brings along, and where the agent can be reached; it is encrypted by
keys that came with the task. A task runs the same without it.
"""

from __future__ import annotations

import importlib
import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WELCOME_MS = 3000
LINES: dict[str, Line | None] = {}
TURN = threading.Lock()


class Line:
    """Owns a thread, which alone uses the socket to the agent.

    Args:
        zmq: The package.
        socket: That the agent has answered on.
        token: Said with everything, so that the agent knows that we were sent by it.
        stop: Ends a task by name if it is in this process; called on the thread.
    """

    def __init__(self, zmq: Any, socket: Any, token: str, stop: Callable[[str], bool]) -> None:
        self.zmq, self.socket, self.token, self.stop = zmq, socket, token, stop
        self.turn = threading.Lock()
        context = zmq.Context.instance()
        self.inside, self.outside = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        self.inside.bind(f"inproc://compute-nb-{token}")
        self.outside.connect(f"inproc://compute-nb-{token}")
        threading.Thread(target=self.run, name="compute-nb-line", daemon=True).start()

    def tell(self, ends: list[Any]) -> None:
        """Sends ends ahead; from any thread."""
        with self.turn:
            self.outside.send(said(self.token, "ends", ends))

    def run(self) -> None:
        """Is the thread."""
        poller = self.zmq.Poller()
        poller.register(self.socket, self.zmq.POLLIN)
        poller.register(self.inside, self.zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self.inside in ready:
                self.socket.send(self.inside.recv())
            if self.socket in ready:
                for name in json.loads(self.socket.recv()):
                    self.socket.send(said(self.token, "asked", [name, self.stop(name)]))


def said(token: str, kind: str, content: Any) -> bytes:
    """Returns a message to the agent."""
    return json.dumps([token, kind, content]).encode()


def line(facts: dict[str, Any], stop: Callable[[str], bool]) -> Line | None:
    """Returns this process's line to the agent that has sent `facts`, or None if there can be none."""
    with TURN:
        if facts["token"] not in LINES:
            LINES[facts["token"]] = opened(facts, stop)
        return LINES[facts["token"]]


def opened(facts: dict[str, Any], stop: Callable[[str], bool]) -> Line | None:
    """Calls the agent at all its addresses, and takes the first that answers."""
    try:
        zmq: Any = importlib.import_module("zmq")
    except ImportError:
        return None
    context, poller, sockets = zmq.Context.instance(), zmq.Poller(), []
    for url in facts["urls"]:
        socket = context.socket(zmq.DEALER)
        socket.linger, socket.ipv6 = 0, True
        socket.curve_serverkey = facts["server"].encode()
        socket.curve_publickey, socket.curve_secretkey = (key.encode() for key in facts["keys"])
        socket.connect(url)
        socket.send(said(facts["token"], "hello", None))
        poller.register(socket, zmq.POLLIN)
        sockets.append(socket)
    found = [socket for socket, _ in poller.poll(WELCOME_MS)][:1]
    for socket in sockets:
        if socket not in found:
            socket.close()
    if not found:
        return None
    for name in json.loads(found[0].recv()):
        stop(name)
    return Line(zmq, found[0], facts["token"], stop)
