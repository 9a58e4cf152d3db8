"""The runner's text on its way to where there is nothing of ours."""

import os
import pickle
import subprocess
import venv

from compute_nb.endpoint.engines.luggage import visitor
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.wire import pack_buffers

SETUP = {"python": None, "folder": None, "packages": None, "limit": 1000, "environ": {}, "kill_s": 1.0}
CODE = (
    "st\nf:def f(x):\n    from importlib.util import find_spec\n"
    "    return [x + 1, find_spec('compute_nb') is None]\n"
)
# The first process only passes it on, as a scheduler does; the second one calls it.
PROGRAM = """\
import os, pickle, sys
function, arguments = pickle.load(sys.stdin.buffer)
again = pickle.loads(pickle.dumps(function))
assert again.__name__ == "visit"
found = [again(*arguments), function(*arguments)]
assert not [name for name in sys.modules if name.startswith("compute_nb.")]
print(repr(found))
"""


def test_a_task_runs_where_there_is_no_compute_nb(tmp_path):
    bare, place = tmp_path / "bare", tmp_path / "place"
    venv.create(bare, symlinks=True)  # nothing is installed in it, not even dill
    place.mkdir()
    call = ("f", pack_buffers([CODE]), {"result_serializers": [JSON]})
    packed = ComputeSerializer().pack_call((41,), {})
    tasks = [("1", "01234567-89ab-cdef-0123-456789abcdef", packed, 0)]
    raw = pickle.dumps((visitor("visit"), (SETUP, call, tasks)))
    done = subprocess.run(
        [bare / "bin" / "python", "-I", "-c", PROGRAM],
        input=raw,
        capture_output=True,
        check=True,
        cwd=place,
        env={**os.environ, "TMPDIR": str(place)},
    )
    for ((_, *answer),) in eval(done.stdout):
        assert answer[:2] == ["success", "11\n[42, true]"]
    assert not list(place.iterdir())  # nothing is left


JSON = "compute_nb.serialize.JSONData"
