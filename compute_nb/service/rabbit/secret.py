"""This module is the service's own password at RabbitMQ: from a file or the environment, no command line."""

from __future__ import annotations

import os
from pathlib import Path

from compute_nb.errors import ComputeError

VARIABLE = "COMPUTE_NB_BROKER_PASSWORD"


def password(file: str | Path | None) -> str:
    """Returns the password.

    The variable is taken out of the environment: agents that the service starts, and their tasks, inherit it.

    Args:
        file: Whose first line it is; None: the variable `COMPUTE_NB_BROKER_PASSWORD` holds it.

    Raises:
        ComputeError: There is none.
    """
    given = os.environ.pop(VARIABLE, None)
    if file is None:
        if not given:
            raise ComputeError(
                f"no password for RabbitMQ: set {VARIABLE}, or name a file by --broker-password-file; only "
                "the file is found again when the service is started by an agent or a notebook"
            )
        return given
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ComputeError(f"--broker-password-file {file} can't be read: {error}") from error
    if not lines or not lines[0].strip():
        raise ComputeError(f"--broker-password-file {file} is empty: its first line must be the password")
    return lines[0].strip()
