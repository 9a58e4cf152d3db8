"""What travels: one text, for any worker."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import ast
import subprocess
import sys

from compute_nb.notebook import payload


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


def test_text_that_travels_is_python_3_8():
    for text in payload.kit_texts().values():
        ast.parse(text, feature_version=(3, 8))


def test_what_travels_of_the_kit_lacks_docstrings_only():
    for text in payload.kit_texts().values():
        bare = payload.bare(text)
        assert bare.count("\n") == text.count("\n")
        assert '"""' not in bare
        whole = ast.parse(text)
        for node in ast.walk(whole):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                node.body[0].value.value = ""
        assert ast.dump(ast.parse(bare)) == ast.dump(whole)
