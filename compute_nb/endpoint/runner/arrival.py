"""This module is the arrival of the runner where there is nothing of ours: its text becomes a package."""

# It is executed as text itself, under a name that no other version of it has; see `engines.luggage`.
import atexit
import importlib
import json
import os
import shutil
import sys
import tempfile
import threading
import types
import zlib

TURN = threading.Lock()


class Visitor:
    """A function of the runner's `visit`; it travels on as it came, also by a process that never calls it.

    Args:
        expression: What `eval` makes it of, given the others.
        name: Of this module.
        packed: The runner's files: compressed JSON of text by name.
        function: Its name in `visit`.
    """

    def __init__(self, expression, name, packed, function):  # type: ignore[no-untyped-def]
        self.__name__ = function
        self.facts = {"expression": expression, "name": name, "packed": packed, "function": function}

    def __call__(self, *args):  # type: ignore[no-untyped-def]
        """Does it."""
        visit = settled(self.facts["name"] + "_runner", self.facts["packed"])  # type: ignore[no-untyped-call]
        return getattr(visit, self.__name__)(*args)

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return eval, (self.facts["expression"], dict(self.facts))


def settled(name, packed):  # type: ignore[no-untyped-def]
    """Returns the module `visit` of the runner, whose files are in a folder of this process."""
    with TURN:
        if name not in sys.modules:
            folder = tempfile.mkdtemp(prefix=f"compute_nb_{os.getpid()}_runner_")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            for path, text in json.loads(zlib.decompress(packed)).items():
                with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
                    file.write(text)
            package = types.ModuleType(name)
            package.__path__ = [folder]
            sys.modules[name] = package
        return importlib.import_module(name + ".visit")
