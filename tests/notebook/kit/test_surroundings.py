"""What a cell does to its process is undone."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import builtins
import logging
import os
import sys


def test_surroundings_are_put_back(shell, tmp_path):
    before = os.getcwd(), dict(os.environ), list(sys.path), list(sys.argv), sys.modules["__main__"]
    shell.there(
        f"import os, sys\nos.chdir({str(tmp_path)!r})\nos.environ['X_Y'] = '1'\nsys.path.append('/x')\nsys.argv.append('y')"
    )
    assert (os.getcwd(), dict(os.environ), list(sys.path), list(sys.argv), sys.modules["__main__"]) == before


def test_logging_of_the_root_and_builtins_are_put_back(shell):
    root = logging.getLogger()
    before = list(root.handlers), root.level, dict(builtins.__dict__)
    result = shell.there(
        "import builtins, logging\nbuiltins.qqq = 5\nbuiltins.oct = None\n"
        "logging.basicConfig(level='INFO', force=True)\nlogging.info('told')"
    )
    assert [item["stream"] for item in result.items] == ["stderr"]
    assert (root.handlers, root.level, builtins.__dict__) == before


def test_named_loggers_are_put_back(shell):
    known = logging.getLogger("cells.known")
    before = list(known.handlers), known.level, known.propagate
    body = (
        "import logging, sys\nfor name in ('cells.known', 'cells.fresh'):\n    log = logging.getLogger(name)\n"
        "    log.addHandler(logging.StreamHandler(sys.stdout))\n    log.setLevel(10)\n    log.propagate = False\n"
        "    log.info('told by %s', name)"
    )
    for _ in range(2):
        told = [item["text"] for item in shell.there(body).items]
        assert told == ["told by cells.known\ntold by cells.fresh\n"]
    assert (known.handlers, known.level, known.propagate) == before
    assert not logging.getLogger("cells.fresh").handlers


def test_a_handler_that_a_library_gives_itself_stays(shell, tmp_path, monkeypatch):
    (tmp_path / "talker_lib.py").write_text(
        "import logging\nlog = logging.getLogger('talker_lib')\nlog.addHandler(logging.NullHandler())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    shell.there("import talker_lib")
    assert len(logging.getLogger("talker_lib").handlers) == 1


def test_a_changed_environment_is_put_back(shell, monkeypatch):
    monkeypatch.setenv("X_KEPT", "1")
    monkeypatch.setenv("X_GONE", "1")
    mapping, before = os.environ, dict(os.environ)
    shell.there(
        "import os\nos.environ['X_KEPT'] = '2'\ndel os.environ['X_GONE']\nos.environ['X_NEW'] = '3'\nos.environ = {}"
    )
    assert os.environ is mapping
    assert dict(os.environ) == before
