"""This module is the private file: written whole or not at all, and read only if nobody else can."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from compute_nb.errors import ComputeError


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user can read, at once or not at all.

    Raises:
        OSError: The folder is missing, full or can't be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_private(path: Path, what: str) -> str:
    """Returns the text of a file that only this user may read, without the white space around it.

    Args:
        what: What it holds, for errors.

    Raises:
        ComputeError: It can't be read, is empty, or others may read it.
    """
    try:
        with path.open(encoding="ascii") as file:
            about = os.fstat(file.fileno())
            text = file.read().strip()
    except (OSError, UnicodeError) as error:
        raise ComputeError(f"{what} can't be read: {error}") from error
    # What belongs to somebody else (a mounted secret, say) can't be mended by this user.
    if os.name == "posix" and about.st_uid == os.getuid() and about.st_mode & 0o077:
        raise ComputeError(
            f"{what} is in {path}, which others may read (mode {about.st_mode & 0o777:o}): "
            f"`chmod 600 {path}`, and take a new token if somebody may have seen it"
        )
    if not text:
        raise ComputeError(f"{what} can't be read: {path} is empty")
    return text
