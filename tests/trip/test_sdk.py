"""Whole trips of what the published SDK's documentation shows beside plain submits."""

from __future__ import annotations

import sys
from collections.abc import Callable

from others import other_endpoint

RunScript = Callable[..., str]

CLIENT = """
import time
from compute_nb import Client, Executor

def double(x):
    return x * 2

client = Client()
function_id = client.register_function(double)
batch = client.create_batch()
for n in range(10):
    batch.add(function_id, "local", args=(n,))
client.batch_run(batch)
task_id = client.run(21, endpoint_id="local", function_id=function_id)
report_id = client.get_worker_hardware_details("local")
with Executor("local", client=client, task_group_id=client.session_task_group_id) as executor:
    futures = executor.reload_tasks()
    print([future.result(60) for future in futures[:10]])
    print(executor.get_worker_hardware_details().splitlines()[0])
print(client.get_result(task_id), "python: runtime and host" in client.get_result(report_id))
print(client.get_endpoint_status("local")["status"], client.get_allowed_functions("local")["restricted"])
"""


def test_the_client_goes_by_names(run_script: RunScript) -> None:
    values, heading, result, endpoint = run_script(CLIENT).splitlines()
    assert values == str([2 * n for n in range(10)])
    assert heading == "== Compute Endpoint worker == == python: runtime and host =="
    assert result == "42 True"
    assert endpoint == "online False"


LARGE = """
import os
from compute_nb import Executor
from compute_nb.errors import SubmitRefused

with Executor("local") as executor:
    print(sum(executor.submit(list, range(1_000_000)).result(60)))
    print(executor.submit(len, os.urandom(8_000_000)).result(60))
    try:
        executor.submit(len, os.urandom(13_000_000))
    except SubmitRefused as error:
        print(error)
    print(executor.submit(abs, -1).result(60))
"""


def test_large_things_travel_or_are_refused_in_one_line(run_script: RunScript) -> None:
    total, length, refusal, after = run_script(LARGE).splitlines()
    assert (total, length, after) == (str(sum(range(1_000_000))), "8000000", "1")
    assert refusal.startswith("the call with its arguments is 17.9 MB")
    assert "nothing was sent" in refusal


RELOAD = """
import sys
from compute_nb import Executor

if len(sys.argv) == 1:
    with Executor("local") as executor:
        function_id = executor.register_function(abs)
        executor.submit_many(function_id, [((-n,), {}) for n in range(2_500)])
        print(executor.task_group_id)
else:
    with Executor() as executor:
        futures = executor.reload_tasks(sys.argv[1])
        print(len(futures), all(future.done() for future in futures), futures[1_234].result())
        print(sum(future.result() for future in futures), len(executor.reload_tasks()))
"""


def test_another_process_loads_a_group_again(run_script: RunScript) -> None:
    group = run_script(RELOAD).strip()
    assert run_script(RELOAD, group) == f"2500 True 1234\n{sum(range(2_500))} 2500\n"


OTHER = """
import sys, warnings
from compute_nb import Executor
from compute_nb.serialize import ComputeSerializer, DillCodeSource

def which():
    import sys
    return sys.version_info[:2]

warnings.simplefilter("error")
source = ComputeSerializer(strategy_code=DillCodeSource())
with Executor(sys.argv[1], serializer=source) as executor:
    print(executor.submit(which).result(60))
    warnings.simplefilter("always")
    with warnings.catch_warnings(record=True) as caught:
        executor.serializer = ComputeSerializer()
        executor.register_function(which)
        executor.register_function(abs)
print(len(caught), caught[0].message)
"""


def test_another_python_is_told_and_source_runs_there(run_script: RunScript, other_python: str) -> None:
    with other_endpoint("other-python", other_python):
        ran, told = run_script(OTHER, "other-python").splitlines()
    version = ".".join(ran.strip("()").split(", "))
    assert version != "{}.{}".format(*sys.version_info)
    assert told.startswith("1 endpoint ")
    assert f"runs tasks by Python {version}." in told
