"""This module is the secret of a home: it keys hashes of values, so that they tell nobody what was hashed."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile

from compute_nb.errors import ComputeError
from compute_nb.home import Home


def secret_of(home: Home) -> bytes:
    """Returns the secret of a home, made at the first look; the same for all kernels.

    Raises:
        ComputeError: It can't be read or made.
    """
    path = home.root / "notebook.key"
    try:
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=home.root)  # 0600
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another kernel was first
            os.link(name, path)
        os.unlink(name)
        return path.read_bytes()
    except OSError as error:
        raise ComputeError(f"{path} can't be read or made: {error}") from error
