"""Options per task: walltime, resources, config, seed, and the forms in which values travel."""

import re

import pytest

from compute_nb.errors import SerializationError, TaskExecutionFailed
from compute_nb.notebook.line.arguments import read_cell
from compute_nb.notebook.line.options import words
from compute_nb.notebook.refusal import CellRefused

pytestmark = pytest.mark.usefixtures("home")


def read(line):
    return read_cell(words(line)).manner


def test_what_is_read():
    assert read("lab --walltime 1.5").walltime_s == 1.5
    assert read('--config {"a": 1}').config == {"a": 1}
    assert read("""--config '{"a": [1, 2]}' --resources {}""").config == {"a": [1, 2]}
    assert read('--resources {"num_nodes": 2}').resources == {"num_nodes": 2}
    assert read("--seed 7 --cache").seed == 7
    assert read("--seed 7 --cache").cache
    assert read("--serializer JSONData").inputs_as == "JSONData"
    assert read("--result-serializer JSONData,DillDataBase64").results_as == ("JSONData", "DillDataBase64")
    assert read("--result-serializer compute_nb.serialize.JSONData").results_as == ("JSONData",)
    assert read("").results_as == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--walltime 0", "a number of seconds above 0"),
        ("--walltime soon", "a number of seconds above 0"),
        ("--walltime inf", "a number of seconds above 0"),
        ("--walltime nan", "a number of seconds above 0"),
        ("--seed -1", "a whole number from 0"),
        ("--seed x", "a whole number from 0"),
        ("--seed 1.5", "a whole number from 0"),
        ("--config {a: 1}", "is no JSON"),
        ("--config [1]", "a JSON object"),
        ("--resources 3", "a JSON object"),
        ("--serializer JSNData", "did you mean `JSONData`?"),
        ("--serializer DillCode", "is for code, and a cell's code always travels as its text"),
        ("--result-serializer nothing", "there are JSONData and DillDataBase64"),
    ],
)
def test_what_is_refused(line, told):
    with pytest.raises(CellRefused, match=re.escape(told)):
        read(line)


def test_a_walltime_ends_the_task(nb):
    nb.here("%%compute --walltime 0.4 -n slow\nimport time\ntime.sleep(300)")
    with pytest.raises(TaskExecutionFailed, match=r"had run for its walltime of 0\.4 s and was ended"):
        nb.names["slow"].result(60)
    assert nb.here("%%compute --walltime 60 -w\n1") == 1


def test_config_and_resources_travel(nb):
    assert nb.here('%%compute --config {"a": 1} -w\n1') == 1
    nb.here('%%compute --resources {"num_nodes": 1} -n asked\n1')
    with pytest.raises(TaskExecutionFailed, match=r"takes no resource_specification \({'num_nodes': 1}\)"):
        nb.names["asked"].result(60)


def test_json_only(nb):
    nb.here("data = {'a': [1, 2.5, None, 'x']}")
    line = "%%compute --serializer JSONData --result-serializer JSONData"
    assert nb.here(f"{line} -w\ndata, (1, 2)") == [{"a": [1, 2.5, None, "x"]}, [1, 2]]
    nb.here(f"{line} -m k=[[1], {{'b': 2}}] -n g -o both\nboth = [k, data]\nboth")
    assert nb.names["g"].result(60) == [[[1], nb.names["data"]], [{"b": 2}, nb.names["data"]]]
    nb.here("%compute wait")
    assert nb.names["both"][1] == [{"b": 2}, nb.names["data"]]


@pytest.mark.parametrize(
    ("before", "line", "body", "told"),
    [
        ("x = {1, 2}", "", "len(x)", "`x` can't travel by `--serializer JSONData`"),
        ("def x(): return 1", "", "x()", "`x` can't travel by `--serializer JSONData`"),
        ("import datetime\nx = datetime.date(2026, 1, 1)", "", "x", "send its `.isoformat()`"),
        ("", "-m k=[1, {2}]", "k", "`k` can't travel by `--serializer JSONData`"),
    ],
)
def test_inputs_that_are_no_json_are_refused(nb, before, line, body, told):
    nb.here(before)
    with pytest.raises(CellRefused, match=re.escape(told)):
        nb.here(f"%%compute --serializer JSONData {line}\n{body}")


def test_results_that_are_no_json_stay_there(nb):
    nb.here("%%compute --result-serializer JSONData -n one\n{1, 2}")
    with pytest.raises(SerializationError, match=r"can't go as JSON .* and nothing else is allowed"):
        nb.names["one"].result(60)
    nb.here("%%compute --result-serializer JSONData,DillDataBase64 -n two\n{1, 2}")
    assert nb.names["two"].result(60) == {1, 2}


def test_no_pickle_comes_back_with_an_error(nb):
    nb.here("%%compute --result-serializer JSONData -n bad\nraise ValueError('no')")
    error = nb.names["bad"].exception(60)
    assert isinstance(error, ValueError)
    assert error.args == ("no",)


def test_a_seed_gives_the_same_everywhere(nb):
    body = "import random\nrandom.random(), random.randint(0, 10**9)"
    nb.here(f"%%compute --seed 5 -m k=range(6) -n first\n_ = k\n{body}")
    nb.here(f"%%compute --seed 5 -m k=range(6) -n second\n_ = k\n{body}")
    nb.here(f"%%compute --seed 6 -m k=range(6) -n other\n_ = k\n{body}")
    first, second, other = (nb.names[name].result(60) for name in ("first", "second", "other"))
    assert first == second
    assert len({*first, *other}) == 12


def test_a_seed_gives_the_same_after_a_retry(nb):
    nb.here(
        "%%compute --seed 5 -m k=range(3) -n g\nimport pathlib, random\n"
        "seen = pathlib.Path(folder, str(k))\nvalue = random.random()\n"
        "if not seen.exists():\n    seen.write_text(repr(value))\n    raise ValueError\n"
        "value, float(seen.read_text())"
    )
    nb.names["g"].result(60, return_exceptions=True)
    nb.here("%compute retry g")
    values = nb.names["g"].result(60)
    assert all(now == before for now, before in values)
    assert len(set(values)) == 3
