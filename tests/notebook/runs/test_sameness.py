"""Whether a cell asks for what goes on already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compute_nb.notebook.body.cell import analyse
from compute_nb.notebook.cargo.packing import pack_cell
from compute_nb.notebook.line.arguments import read_cell
from compute_nb.notebook.line.options import points, words
from compute_nb.notebook.runs.sameness import key_of


def key(shell: Any, line: str, body: str, secret: bytes = b"one", retries: int = 0) -> str:
    options = read_cell(words(line))
    read = analyse(body, postponed=False)
    values = points(options.maps, shell.ip.ev, 1000) if options.maps else None
    flight = pack_cell("In[1]", read, options, values, shell.notebook, "local")
    return key_of(flight, options, values, shell.notebook, ("local", retries), secret)


def test_the_same_again_has_the_same_key(shell: Any) -> None:
    shell.here("steps = 5\nnames = {'b', 'a'}\ndef f(x):\n    return x + steps")
    first = key(shell, "-n sims -m s=range(3)", "f(s), names")
    shell.here("steps = 5\nnames = {'a', 'b'}\ndef f(x):\n    return x + steps")
    assert key(shell, "-n sims -m s=range(3)", "f(s), names") == first
    assert first.startswith("hmac-sha256:")


@pytest.mark.parametrize(
    ("line", "body", "change"),
    [
        ("-n sims -m s=range(3)", "f(s) + 1", ""),
        ("-n sims -m s=range(4)", "f(s)", ""),
        ("-n other -m s=range(3)", "f(s)", ""),
        ("-n sims -m s=range(3) --walltime 5", "f(s)", ""),
        ("-n sims -m s=range(3) --seed 3", "f(s)", ""),
        ("-n sims -m s=range(3)", "f(s)", "steps = 6"),
        ("-n sims -m s=range(3)", "f(s)", "def f(x):\n    return x"),
    ],
)
def test_another_source_input_map_or_option_has_another(
    shell: Any, line: str, body: str, change: str
) -> None:
    shell.here("steps = 5\ndef f(x):\n    return x + steps")
    first = key(shell, "-n sims -m s=range(3)", "f(s)")
    shell.here(change or "pass")
    assert key(shell, line, body) != first


def test_an_edited_module_beside_the_notebook_has_another(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside_me.py").write_text("import under_it\n")
    (tmp_path / "under_it.py").write_text("q = 1\n")
    first = key(shell, "", "import beside_me\n1")
    assert key(shell, "", "import beside_me\n1") == first != ""
    (tmp_path / "under_it.py").write_text("q = 2\n")
    assert key(shell, "", "import beside_me\n1") not in (first, "")


def test_another_home_and_other_retries_have_another(shell: Any) -> None:
    keys = {key(shell, "", "1"), key(shell, "", "1", b"two"), key(shell, "", "1", retries=2)}
    assert len(keys) == 3


def test_what_has_no_stable_content_has_no_key(shell: Any) -> None:
    shell.here("own = (number for number in range(3))")
    options, read = read_cell(words("")), analyse("1", postponed=False)
    flight = pack_cell("In[1]", read, options, None, shell.notebook, "local")
    flight = replace(flight, captured=replace(flight.captured, names=("own",)))
    assert key_of(flight, options, None, shell.notebook, (), b"one") == ""


def test_inputs_of_very_many_parts_hold_nobody_up(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute_nb.notebook.runs.sameness.MOST_PARTS", 1000)
    shell.here("few, many, sets = [[n] for n in range(300)], [[n] for n in range(600)], set(range(300))")
    assert key(shell, "", "len(few)")
    assert key(shell, "", "len(many)") == ""
    assert key(shell, "", "len(sets)") == ""


def test_a_generator_that_all_tasks_share_is_told(shell: Any) -> None:
    shell.here("import random\nrng, name = random.Random(3), 'x'")
    for line, told in (("-m s=range(2)", 1), ("-m s=[1]", 0), ("", 0)):
        options = read_cell(words(line))
        body = "rng.random(), name" + (", s" if line else "")
        values = points(options.maps, shell.ip.ev, 1000) if options.maps else None
        flight = pack_cell("In[1]", analyse(body, postponed=False), options, values, shell.notebook, "local")
        assert len(flight.captured.notes) == told
        assert all("`rng` (a Random)" in note for note in flight.captured.notes)
