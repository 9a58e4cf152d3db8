"""What a cell does to its process is undone."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import os
import sys


def test_surroundings_are_put_back(shell, tmp_path):
    before = os.getcwd(), dict(os.environ), list(sys.path), list(sys.argv), sys.modules["__main__"]
    shell.there(
        f"import os, sys\nos.chdir({str(tmp_path)!r})\nos.environ['X_Y'] = '1'\nsys.path.append('/x')\nsys.argv.append('y')"
    )
    assert (os.getcwd(), dict(os.environ), list(sys.path), list(sys.argv), sys.modules["__main__"]) == before
