"""How a cell's source differs from what ran, and the sources that are kept for that."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from compute_nb.home import Home
from compute_nb.notebook.memory.drift import MAX_LINES, Sources, changes
from compute_nb.notebook.runs.record import source_hash

RAN = "%%compute -m s=range(3)\nimport math\nsteps = 10\na = 1\nb = 2\nc = 3\nmath.sqrt(s * steps)\n"


def test_lines_say_what_is_gone_and_what_is_new() -> None:
    now = RAN.replace("steps = 10", "steps = 20").replace("s * steps", "s")
    assert changes(RAN, now) == [
        " %%compute -m s=range(3)",
        " import math",
        "-steps = 10",
        "+steps = 20",
        " a = 1",
        " b = 2",
        " c = 3",
        "-math.sqrt(s * steps)",
        "+math.sqrt(s)",
    ]
    assert changes(RAN, RAN + "\n\n") == []
    assert changes("", "<b>&") == ["+<b>&"]
    long = "\n".join(map(str, range(20)))
    assert changes(long, long.replace("17", "x")) == ["[...]", " 15", " 16", "-17", "+x", " 18", " 19"]


def test_no_more_lines_than_a_person_reads_and_none_too_long() -> None:
    found = changes("x" * 10_000, "\n".join(map(str, range(10_000))))
    assert len(found) == MAX_LINES
    assert found[-1] == "[... 9,802 lines left out ...]"
    assert max(map(len, found)) < 500
    assert changes("a", "b" * 600_000) == ["[... the source is too large to be compared ...]"]


def test_sources_are_kept_by_their_hash_for_their_owner_alone(tmp_path: Path) -> None:
    folder = Home(tmp_path / "home").prepare().root / "sources"
    sources = Sources(folder)
    for source in (RAN, "naïve \ud800"):
        sources.keep(source)
        sources.flush()
        assert Sources(folder).of(source_hash(source)) == source
    (file, *_) = folder.glob("??/*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("broken")
    assert [Sources(folder).of(source_hash(source)) for source in (RAN, "naïve \ud800")].count(None) == 1


@pytest.mark.parametrize("hashed", ["", "sha256:", "sha256:../../token", "sha256:00", "../../../etc/passwd"])
def test_a_hash_that_is_none_finds_nothing(tmp_path: Path, hashed: str) -> None:
    assert Sources(tmp_path / "sources").of(hashed) is None


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    sources = Sources(tmp_path / "sources", max_bytes=5_000)
    texts = [f"{number}" * 1_000 for number in range(1, 10)]
    for text in texts:
        sources.keep(text)
    sources.flush()
    kept = [text for text in texts if sources.of(source_hash(text)) is not None]
    assert texts[-1] in kept
    assert sum(map(len, kept)) <= 5_000
