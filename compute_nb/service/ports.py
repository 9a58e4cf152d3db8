"""This module is the service's two listening sockets: drawn once, their ports stay."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Sequence

import psutil

from compute_nb.errors import ComputeError

FIRST_PORT, LAST_PORT = 15_000, 32_000
DRAWS = 50


class PortTaken(ComputeError):
    """A port that was asked for, or handed out before, belongs to another program."""


def listen(host: str, wanted: int | None, option: str) -> socket.socket:
    """Returns a listening socket.

    Never SO_REUSEPORT: nobody else, of any user, can share a port on which passwords arrive.

    Args:
        host: From `address.check`.
        wanted: The port; None draws one.
        option: The command-line option that would set another, for the error.

    Raises:
        PortTaken: The text names the program that has it, where the system tells.
    """
    if wanted is not None:
        return _bind(host, wanted, option)
    for port in random.SystemRandom().sample(range(FIRST_PORT, LAST_PORT), DRAWS):
        try:
            return _bind(host, port, option)
        except PortTaken:
            continue
    raise ComputeError(f"none of {DRAWS} ports tried between {FIRST_PORT} and {LAST_PORT} is free")


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Closes sockets that will not be served."""
    for sock in sockets:
        sock.close()


def _bind(host: str, port: int, option: str) -> socket.socket:
    # asyncio sends small answers at once only where the protocol is named; 40 ms late otherwise.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(_taken(host, port, option)) from error
        raise ComputeError(
            f"port {port} on {host} can't be opened: {error.strerror}; choose another by {option}"
        ) from error
    sock.setblocking(False)
    return sock


def _taken(host: str, port: int, option: str) -> str:
    return (
        f"port {port} on {host} is taken by {_owner(port)}; end that program, or choose another port "
        f"by {option} (clients of this service find it by themselves)"
    )


def _owner(port: int) -> str:
    """Says which program listens on a port; other users' programs are visible to root only."""
    try:
        rows = psutil.net_connections(kind="tcp")
    except psutil.Error:  # macOS tells nobody but root
        return "another program"
    for row in rows:
        if row.status == psutil.CONN_LISTEN and row.laddr and row.laddr.port == port and row.pid:
            return _describe(row.pid)
    return "another user's program"


def _describe(pid: int) -> str:
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({command[:120]})"
