"""A TCP way to PostgreSQL that the tests can cut where they want."""

import socket
import threading
from contextlib import suppress


class Wire:
    """A TCP way to a server that can be cut.

    Attributes:
        swallow: True has it cut in the place of the answer to the next commit; `swallowed` is set then.
        cut_after: How many more answers pass before it is cut.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.swallow = False
        self.swallowed = threading.Event()
        self.cut_after: int | None = None
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._links += [near, far]
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.cut_after is not None:
                    self.cut_after -= 1
                    if not self.cut_after:
                        self.cut_after = None
                        self.cut()
                        return
                if answers and self.swallow and b"COMMIT\0" in data:
                    self.swallow = False
                    self.cut()
                    self.swallowed.set()
                    return
                target.sendall(data)
        for link in (source, target):
            link.close()

    def cut(self) -> None:
        """Ends all connections at once, as a network does: the server may not hear of it."""
        links, self._links = self._links, []
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def close(self) -> None:
        self._door.close()
        self.cut()
