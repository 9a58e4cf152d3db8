"""Files that only their user may read."""

from __future__ import annotations

import stat

from compute_nb.private import write_private


def test_private_files_are_private_and_replaced_whole(tmp_path):
    file = tmp_path / "token"
    write_private(file, "one")
    write_private(file, "two")
    assert file.read_text() == "two"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
