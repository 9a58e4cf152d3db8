"""The cache as files, and `--cache` task by task in a real shell (semantics 17)."""

import os
import stat
import subprocess
import sys

import pytest

from compute_nb.home import Home
from compute_nb.notebook.runs.cache import Cache, cache_of
from compute_nb.notebook.runs.secret import secret_of

# -- files


def test_results_are_the_owners_alone(tmp_path):
    cache = Cache(tmp_path / "cache")
    cache.put("ab" + "0" * 62, "value ä")
    cache.flush()
    assert cache.get("ab" + "0" * 62) == "value ä"
    assert cache.get("cd" + "0" * 62) is None
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    cache.close(10)
    assert Cache(tmp_path / "cache").get("ab" + "0" * 62) == "value ä"


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 90, b'11\n{"compute_nb_cell": 1, "values": "AAAA", "items": 5}']
)
def test_a_damaged_file_is_none_and_is_written_anew(tmp_path, damage):
    cache, key = Cache(tmp_path / "cache"), "ab" + "0" * 62
    for _ in range(2):
        cache.put(key, "value ä")
        cache.flush()
        assert cache.get(key) == "value ä"
        cache._path(key).write_bytes(damage)
        assert cache.get(key) is None


def test_the_oldest_go_when_it_is_full(tmp_path):
    cache = Cache(tmp_path / "cache", max_bytes=1000)
    keys = [f"{number:064x}"[::-1] for number in range(1, 13)]
    for number, key in enumerate(keys[:9]):
        cache.put(key, "x" * 100)
        cache.flush()
        os.utime(cache._path(key), (number, number))
    assert cache.get(keys[0])  # used, so it is the newest now
    for key in keys[9:]:
        cache.put(key, "x" * 100)
    cache.flush()
    left = [key for key in keys if cache.get(key)]
    assert keys[0] in left
    assert keys[1] not in left
    assert keys[-1] in left
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("??/*")) <= 1000
    cache.put("f" * 64, "x" * 2000)
    cache.flush()
    assert cache.get("f" * 64) is None
    cache.close(10)


def test_a_folder_that_cannot_be_written_hurts_nobody(tmp_path):
    (tmp_path / "cache").write_text("a file")
    cache = Cache(tmp_path / "cache")
    cache.put("a" * 64, "x")
    cache.flush()
    assert cache.get("a" * 64) is None
    cache.close(10)


def test_the_secret_is_made_once(tmp_path):
    home = Home(tmp_path / "home")
    first = secret_of(home)
    assert len(first) == 32
    assert secret_of(home) == first
    assert stat.S_IMODE((home.root / "notebook.key").stat().st_mode) == 0o600
    assert [path.name for path in home.root.iterdir()] == ["notebook.key"]


# -- cells

COUNTED = "import os, pathlib, uuid\npathlib.Path(folder, f'{k} {uuid.uuid4()}').touch()\n"


def ran(folder):
    """How often each task was run."""
    return sorted(int(name.split()[0]) for name in os.listdir(folder))


def test_a_larger_sweep_runs_what_is_new(nb, home, tmp_path, capsys):
    nb.here("def helper(x): return x * scale\nscale = 3\nnames = {'a', 'b'}")
    body = COUNTED + "helper(k), len(names)"
    nb.here(f"%%compute --cache -m k=range(4) -n g -w\n{body}")
    cache_of(home).flush()
    capsys.readouterr()
    nb.here(f"%%compute --cache -m k=range(10) -n g -w\n{body}")
    assert "4 of 10 reused" in capsys.readouterr().err
    assert nb.names["g"].result(0) == [(k * 3, 2) for k in range(10)]
    assert ran(tmp_path) == list(range(10))
    assert [one.state.word for one in nb.names["g"]] == ["done"] * 10
    assert nb.names["g"][0].task_id is None
    cache_of(home).flush()
    nb.here("def helper(x):\n\n    return x * scale\nnames = {'b', 'a'}")
    assert nb.here(f"%%compute --cache -m k=range(3, 5) -w\n{body}") == [(9, 2), (12, 2)]
    assert ran(tmp_path) == list(range(10))
    nb.here("scale = 4")
    assert nb.here(f"%%compute --cache -m k=[3] -w\n{body}") == [(12, 2)]
    assert ran(tmp_path) == sorted([*range(10), 3])


def test_without_the_option_all_is_run(nb, home, tmp_path):
    for line in ("--cache", "", "--cache"):
        nb.here(f"%%compute {line} -m k=[7] -w\n{COUNTED}")
        cache_of(home).flush()
    assert ran(tmp_path) == [7, 7]


def test_another_process_finds_it(home, tmp_path):
    cell = f"%%compute --cache -m k=[8] -w -o tags\n{COUNTED}tags = {{'a', 'b', k}}\nk"
    script = tmp_path.parent / f"{tmp_path.name}.py"
    script.write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance()\n"
        "ip.run_line_magic('load_ext', 'compute_nb')\n"
        f"ip.user_ns['folder'] = {str(tmp_path)!r}\n"
        f"ip.run_cell({cell!r}).raise_error()\n"
        "print(ip.user_ns['tags'] == [{'a', 'b', 8}])\n"
    )
    for told in ("", "1 of 1 reused, computed before\n"):
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "True", done.stderr
        assert done.stderr == told
    assert ran(tmp_path) == [8]


def test_failures_are_run_again(nb, home, tmp_path):
    body = COUNTED + "if k == 1 and len(os.listdir(folder)) < 3: raise ValueError(k)\nk"
    nb.here(f"%%compute --cache -m k=[0,1] -n g\n{body}")
    nb.names["g"].result(60, return_exceptions=True)
    cache_of(home).flush()
    assert nb.here(f"%%compute --cache -m k=[0,1] -w\n{body}") == [0, 1]
    assert ran(tmp_path) == [0, 1, 1]


def test_what_a_retry_gave_is_kept_too(nb, home, tmp_path):
    body = COUNTED + "if len(os.listdir(folder)) < 2: raise ValueError(k)\nk"
    nb.here(f"%%compute --cache -m k=[3] -n g\n{body}")
    nb.names["g"].result(60, return_exceptions=True)
    nb.here("%compute retry g")
    assert nb.names["g"].result(60) == [3]
    cache_of(home).flush()
    assert nb.here(f"%%compute --cache -m k=[3] -w\n{body}") == [3]
    assert ran(tmp_path) == [3, 3]


def test_values_that_cannot_be_compared_are_run_and_it_says_so(nb, home, tmp_path, capsys):
    nb.here("import weakref\nclass Thing: pass\nthing = Thing()\nodd = weakref.ref(thing)")
    for _ in range(2):
        nb.here(f"%%compute --cache -m k=[1,2] -w\n{COUNTED}_ = odd\nk")
        cache_of(home).flush()
    assert "2 of 2 can't be compared with what was computed before: `odd`" in capsys.readouterr().err
    assert ran(tmp_path) == [1, 1, 2, 2]


def test_commands_are_kept_unless_their_exit_code_is_an_error(nb, home, tmp_path, capsys):
    body = "touch {folder!q}/{k}.$$; exit {k}"
    for _ in range(2):
        values = nb.here(f"%%compute --cache --shell -m k=[0,3] -w\n{body}")
        assert [one.returncode for one in values] == [0, 3]
        cache_of(home).flush()
    assert sorted(int(name.split(".")[0]) for name in os.listdir(tmp_path)) == [0, 3, 3]
    assert "1 of 2 reused" in capsys.readouterr().err


def test_a_seed_counts_with_the_place(nb, home, capsys):
    first = nb.here("%%compute --cache --seed 1 -m k=[0,0] -w\nimport random\nk, random.random()")
    cache_of(home).flush()
    again = nb.here("%%compute --cache --seed 1 -m k=[0,0] -w\nimport random\nk, random.random()")
    assert first == again
    assert first[0] != first[1]
    other = nb.here("%%compute --cache --seed 2 -m k=[0,0] -w\nimport random\nk, random.random()")
    assert not {*other} & {*first}


def test_a_local_module_that_changes_counts(nb, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text, expected in (("value = 1", 1), ("value = 1", 1), ("value = 22", 22)):
        (tmp_path / "cached_helper.py").write_text(text)
        got = nb.here("%%compute --cache -w\nimport cached_helper\ncached_helper.value")
        assert got == expected
        cache_of(home).flush()


BESIDE = {
    "c_sub.py": "q = 1\n",
    "c_whole.py": "import c_sub\ndef scale(x): return c_sub.q * x\n",
    "c_part.py": "from c_sub import q\ndef scale(x): return q * x\n",
    "c_pkg/__init__.py": "from .sub import z\ndef scale(x): return z * x\n",
    "c_pkg/sub.py": "from . import deep\nz = deep.q\n",
    "c_pkg/deep.py": "q = 1\n",
    "c_late.py": "def scale(x):\n    from c_sub import q\n    return q * x\n",
    "c_kind.py": "from c_sub import q\nclass Kind:\n    def scale(self, x): return q * x\n",
}


@pytest.mark.parametrize(
    ("setup", "cell", "edited"),
    [
        ("", "import c_whole\nc_whole.scale(i + 1)", "c_sub.py"),
        ("", "from c_part import scale\nscale(i + 1)", "c_sub.py"),
        ("from c_part import scale", "scale(i + 1)", "c_sub.py"),
        ("", "import c_pkg\nc_pkg.scale(i + 1)", "c_pkg/deep.py"),
        ("", "import c_late\nc_late.scale(i + 1)", "c_sub.py"),
        ("def far(x):\n    import c_whole\n    return c_whole.scale(x)", "far(i + 1)", "c_sub.py"),
        ("import c_kind\nkind = c_kind.Kind()", "kind.scale(i + 1)", "c_sub.py"),
    ],
)
def test_what_a_helper_imports_counts(nb, home, tmp_path, monkeypatch, capsys, setup, cell, edited):
    for name, text in BESIDE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    nb.here(f"folder_is = {str(tmp_path)!r}\n{setup}")  # keeps the cases apart
    head = "%%compute --cache -m i=range(2) -w\n_ = folder_is\n"
    assert nb.here(head + cell) == [1, 2]
    cache_of(home).flush()
    assert nb.here(head + cell) == [1, 2]
    assert "2 of 2 reused" in capsys.readouterr().err
    (tmp_path / edited).write_text("q = 55\n")
    assert nb.here(head + cell) == [55, 110]
    for name in [name for name in sys.modules if name.startswith("c_")]:
        del sys.modules[name]


def test_a_module_that_only_a_swept_value_needs_counts(nb, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "c_swept.py").write_text("class Kind:\n    def scale(self): return 1\n")
    nb.here("import c_swept\nkinds = [c_swept.Kind()]")
    assert nb.here("%%compute --cache -m kind=kinds -w\nkind.scale()") == [1]
    cache_of(home).flush()
    (tmp_path / "c_swept.py").write_text("class Kind:\n    def scale(self): return 55\n")
    assert nb.here("%%compute --cache -m kind=kinds -w\nkind.scale()") == [55]
    del sys.modules["c_swept"]
