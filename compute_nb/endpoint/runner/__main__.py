"""This module is the start of a worker: it gives its neighbours a package name that no user's module has."""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(FOLDER):  # Python has followed links
    del sys.path[0]  # before the next import, which must not find one of ours

import importlib  # noqa: E402
import types  # noqa: E402

PACKAGE = "_compute_nb_runner"


def main() -> None:
    """Is what the arguments say, as a package of its own."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [FOLDER]
    sys.modules[PACKAGE] = package
    importlib.import_module(f"{PACKAGE}.process").main()


if __name__ == "__main__":
    main()
