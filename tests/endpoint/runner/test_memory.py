"""The limit of memory, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compute_nb.endpoint.runner import memory

FOLDER = Path(memory.__file__).parent
LIMIT = 200_000_000


def run(text: str) -> object:
    """Runs a program whose limit is set; it gives one JSON value."""
    start = (
        f"import json, mmap, sys, threading\nsys.path.insert(0, {str(FOLDER)!r})\nfrom memory import MEMORY\n"
    )
    body = f"{start}MEMORY.limit({LIMIT})\nMEMORY.keep()\n{text}"
    asked = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    return json.loads(asked.stdout)


def test_what_is_only_reserved_or_shared_is_not_counted():
    text = (
        "reserved = mmap.mmap(-1, 1 << 32, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)\n"
        "shared = mmap.mmap(-1, 1 << 30)\nprint(json.dumps(len(bytearray(100_000_000))))"
    )
    assert run(text) == 100_000_000


def test_a_full_process_has_enough_left_to_tell_it():
    text = (
        "kept = []\ntry:\n    while True:\n        kept.append(bytes(1000))\nexcept MemoryError as error:\n"
        "    note = MEMORY.note(error)\nprint(json.dumps([note, MEMORY.is_met, len(bytearray(30_000_000))]))"
    )
    note, is_met, left = run(text)
    assert "take 200 MB of memory, `memory_limit`" in note
    assert is_met
    assert left == 30_000_000


def test_a_child_has_the_same_limit():
    text = (
        "import subprocess\nchild = [sys.executable, '-c', 'bytearray(300_000_000)']\n"
        "print(json.dumps(subprocess.run(child, stderr=subprocess.PIPE, text=True).stderr))"
    )
    assert "MemoryError" in run(text)


def test_a_failed_fork_and_a_thread_that_can_not_start_are_explained():
    text = (
        "def note(error):\n    return MEMORY.note(error) != ''\n"
        "print(json.dumps([note(OSError(12, 'no')), note(RuntimeError(\"can't start new thread\")), "
        "note(OSError(2, 'no')), note(ValueError())]))"
    )
    assert run(text) == [True, True, False, False]


def test_without_a_limit_nothing_is_said():
    assert memory.Memory().note(MemoryError()) == ""


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (7, "7 bytes"),
        (64_000_000, "64 MB"),
        (1_500_000_000, "1.5 GB"),
        (1 << 30, "1.074 GB"),
        (10**15, "1000 TB"),
    ],
)
def test_sizes_as_people_say_them(size, words):
    assert memory.told(size) == words


def test_systems_that_keep_no_limit_are_told():
    assert "darwin, does not enforce" in memory.why_not("darwin", "24.1.0")
    assert "2.6.32-754.el6, counts the heap alone" in memory.why_not("linux", "2.6.32-754.el6")
    assert not memory.why_not("linux", "4.18.0-553.el8")
