"""What travels: one text, for any worker."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import ast
import importlib
import subprocess
import sys
from pathlib import Path

from compute_nb.notebook.cargo import payload


def test_a_worker_needs_the_standard_library_only(shell):
    shell.here(
        "import json\nrate = 2\ndef f(x):\n    return x * rate\nclass C:\n    def v(self):\n        return f(4)\nc = C()"
    )
    source, point, _ = shell.source(
        "print('there')\ndel rate\nrate = 3\n[c.v(), C is type(c), f.__name__, n]", n=5
    )
    program = source + f"\nimport json\nprint(json.dumps(compute_cell(2, {point!r})['display'][0]))\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-"], input=program, text=True, capture_output=True, check=True
    )
    assert done.stdout == '{"text/plain": "[12, True, \'f\', 5]"}\n'
    assert done.stderr == ""


def test_a_cell_costs_a_small_text(shell):
    assert len(shell.source("1")[0]) < 29_000


def test_text_that_travels_has_the_lines_of_its_files():
    for name, text in payload.kit_texts().items():
        module = importlib.import_module(f"compute_nb.notebook.kit.{name}")
        whole = Path(module.__file__).read_text("utf-8")
        assert text.count("\n") == whole.count("\n")
        for node, same in zip(ast.walk(ast.parse(text)), ast.walk(ast.parse(whole)), strict=True):
            assert type(node) is type(same)
            assert getattr(node, "lineno", 0) == getattr(same, "lineno", 0)
            if isinstance(node, ast.Constant) and node.value != "":
                assert node.value == same.value


def test_text_that_travels_is_python_3_8():
    for text in payload.kit_texts().values():
        ast.parse(text, feature_version=(3, 8))
