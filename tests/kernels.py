"""A real kernel with a person and a page with the plugin at it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel

TARGET = "compute_nb.meta"


class Kernel:
    """A kernel whose messages are read; `heard` are those to the plugin."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.heard: list[Any] = []
        self.updates: list[Any] = []
        self.comm = ""
        self.greeted = False

    @property
    def client_id(self) -> str:
        """What a page with this connection calls itself."""
        return str(self._client.session.session)

    def run(self, code: str, cell_id: str | None = "c0") -> list[Any]:
        """Runs a cell; returns its messages."""
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        metadata = {} if cell_id is None else {"cellId": cell_id}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(message)
        asked, messages = message["header"]["msg_id"], []
        while True:
            got = self.next()
            messages.append(got)
            own = got["parent_header"].get("msg_id") == asked
            if own and got["content"].get("execution_state") == "idle":
                return messages

    def text(self, code: str, cell_id: str | None = "c0") -> str:
        """Runs a cell; returns all that it prints, shows and raises as text.

        A panel is drawn anew when its turn comes, whichever cell runs then: `updates` has that.
        """
        parts = []
        for message in self.run(code, cell_id):
            content = message["content"]
            if message["msg_type"] == "update_display_data":
                continue
            parts.append(str(content.get("text", "")))
            parts.append(str((content.get("data") or {}).get("text/plain", "")))
            parts.append(str(content.get("evalue", "")))
        return "\n".join(part for part in parts if part)

    def says(self, kind: str, ok: Callable[[Any], bool] = lambda _: True) -> Any:
        """Waits for a message of a kind to the page."""
        while not (found := [one for one in self.heard if one["kind"] == kind and ok(one)]):
            self.next()
        return found[-1]

    def greet(self, path: Path, cells: tuple[str, ...] = ("c0", "c1")) -> None:
        """Speaks as a page that shows the notebook."""
        self.greeted = True
        self.says("live")
        seen = {"path": path.name, "record": None, "cells": list(cells), "client": self.client_id}
        data = {"kind": "notebook", **seen, "previous": None}
        message = self._client.session.msg("comm_msg", {"comm_id": self.comm, "data": data})
        self._client.shell_channel.send(message)

    def next(self) -> Any:
        """Returns the next message of any kind."""
        got = self._client.get_iopub_msg(timeout=60)
        data = got["content"].get("data")
        if got["msg_type"] == "comm_msg" and isinstance(data, dict) and data.get("target") == TARGET:
            self.comm = got["content"]["comm_id"]
            self.heard.append(data)
        if got["msg_type"] == "update_display_data":
            self.updates.append(got["content"])
        return got


@contextlib.contextmanager
def kernel_at(path: Path) -> Iterator[Kernel]:
    """A new kernel of the notebook at a path; at that of a folder one that is not told of a notebook."""
    here = {} if path.is_dir() else {"JPY_SESSION_NAME": str(path)}
    environment = {name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"}
    manager, client = start_new_kernel(env={**environment, **here}, cwd=str(path) if not here else None)
    try:
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
