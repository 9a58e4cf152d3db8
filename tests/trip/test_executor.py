"""Whole trips of plain scripts: what the published Executor guide shows, in scripts of our own."""

import signal
from collections.abc import Callable
from pathlib import Path

RunScript = Callable[..., str]

ONE = """
from compute_nb import Executor

def double(x):
    return x * 2

with Executor(endpoint_id="local") as executor:
    print(executor.submit(double, 21).result())
"""


def test_one_task(run_script: RunScript) -> None:
    assert run_script(ONE) == "42\n"


MANY = """
from compute_nb import Executor

def digits(number, base=10):
    found = []
    while number:
        number, digit = divmod(number, base)
        found.append(digit)
    return found[::-1]

with Executor("local") as executor:
    futures = [executor.submit(digits, n, base=3) for n in range(1, 101)]
for future in futures:
    assert future.done()
print(sum(sum(future.result()) for future in futures), executor.task_count_submitted)
"""


def test_many_tasks_and_a_shutdown_that_waits(run_script: RunScript) -> None:
    total = sum(sum((n // 3**k) % 3 for k in range(5)) for n in range(1, 101))
    assert run_script(MANY) == f"{total} 100\n"


FAILURE = """
from compute_nb import Executor
from compute_nb.errors import TaskExecutionFailed

def settle(limit):
    if limit < 100:
        raise ValueError(f"not settled in {limit} steps")
    return limit

with Executor("local") as executor:
    future = executor.submit(settle, 7)
try:
    future.result()
except ValueError as error:
    print(isinstance(error, TaskExecutionFailed), error.args[0])
    print("settle" in str(error), "line" in str(error))
print(type(future.exception()).__name__, future.exception() is future.exception())
"""


def test_an_error_is_raised_as_its_own_type_and_ours(run_script: RunScript) -> None:
    printed = run_script(FAILURE).splitlines()
    assert printed[0] == "True not settled in 7 steps"
    assert printed[1] == "True True"
    assert printed[2].endswith("True")


ARRIVAL = """
import concurrent.futures, sys
from compute_nb import Executor

def when(path):
    import os, time
    while path and not os.path.exists(path):
        time.sleep(0.01)
    return path

with Executor("local") as executor:
    futures, seen = [executor.submit(when, path) for path in (sys.argv[1], "")], []
    for future in concurrent.futures.as_completed(futures, timeout=60):
        seen.append(futures.index(future))
        open(sys.argv[1], "w").close()
    print(seen)
    print(list(executor.map(pow, [2, 3], [5, 2], timeout=60)))
"""


def test_as_completed_and_map(run_script: RunScript, tmp_path: Path) -> None:
    first, second = run_script(ARRIVAL, str(tmp_path / "gate")).splitlines()
    assert first == "[1, 0]"
    assert second == "[32, 9]"


DYING = """
import os, signal, sys
from compute_nb import Executor

def name(number):
    return f"task {number}"

with Executor("local") as executor:
    if len(sys.argv) > 1:
        executor.task_group_id = sys.argv[1]
        print([future.result(timeout=60) for future in executor.reload_tasks()])
    else:
        print(executor.task_group_id, flush=True)
        for number in range(5):
            executor.submit(name, number)
        executor.wait_accepted(timeout=60)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_script_finds_its_tasks_again(run_script: RunScript) -> None:
    group = run_script(DYING, status=-signal.SIGKILL).strip()
    assert run_script(DYING, group) == f"{[f'task {n}' for n in range(5)]}\n"


CLOSURE = """
import math
from compute_nb import Executor

factor = 3

def scaled(x):
    return factor * math.floor(x)

with Executor("local") as executor:
    print(executor.submit(scaled, 2.5).result(), executor.submit(lambda: factor).result())
"""


def test_a_function_of_main_brings_what_it_reads(run_script: RunScript) -> None:
    assert run_script(CLOSURE) == "6 3\n"


DEATHS = """
import os, signal
from compute_nb import Executor
from compute_nb.errors import WorkerDied

def die(how):
    import os
    os._exit(3) if how == "exit" else os.kill(os.getpid(), how)

with Executor("local") as executor:
    dying = [executor.submit(die, how) for how in ("exit", signal.SIGKILL, signal.SIGSEGV)]
    for future in dying:
        error = future.exception(timeout=60)
        print(type(error) is WorkerDied, error.remote_data.splitlines()[0])
    print(executor.submit(abs, -1).result(timeout=60))
"""


def test_a_dying_worker_fails_its_own_task_only(run_script: RunScript) -> None:
    *deaths, last = run_script(DEATHS).splitlines()
    assert all(line.startswith("True ") for line in deaths)
    assert "3" in deaths[0]
    assert "SIGKILL" in deaths[1]
    assert "SIGSEGV" in deaths[2]
    assert last == "1"


CANCEL = """
import concurrent.futures
from compute_nb import Executor

def sleep_long():
    import time
    time.sleep(600)

with Executor("local") as executor:
    futures = [executor.submit(sleep_long) for _ in range(50)]
    executor.wait_accepted(timeout=60)
    print(all(future.cancel() for future in futures))
    concurrent.futures.wait(futures, timeout=60)
    print({future.cancelled() for future in futures}, executor.submit(abs, -2).result(timeout=60))
"""


def test_cancel_reaches_queued_and_running_tasks(run_script: RunScript) -> None:
    assert run_script(CANCEL) == "True\n{True} 2\n"


UNKNOWN = """
from compute_nb import Executor
from compute_nb.errors import EndpointNotFound

try:
    Executor("locla").submit(abs, -1)
except EndpointNotFound as error:
    print(error)
"""


def test_an_unknown_endpoint_names_the_nearest(run_script: RunScript) -> None:
    printed = run_script(UNKNOWN)
    assert "locla" in printed
    assert "local" in printed.replace("locla", "")
    assert len(printed.splitlines()) == 1


UNSENDABLE = """
import threading
from compute_nb import Executor
from compute_nb.errors import SerializationError

def give():
    return (n for n in range(3))

with Executor("local") as executor:
    try:
        executor.submit(print, threading.Lock()).result(timeout=60)
    except SerializationError as error:
        print(str(error).splitlines()[0])
    error = executor.submit(give).exception(timeout=60)
    print(type(error).__name__, "generator" in str(error))
    print(executor.submit(abs, -3).result(timeout=60))
"""


def test_what_cannot_travel_is_named_and_the_executor_goes_on(run_script: RunScript) -> None:
    first, second, third = run_script(UNSENDABLE).splitlines()
    assert "lock" in first
    assert second.endswith("True")
    assert third == "3"


STRATEGIES = """
from compute_nb import Executor
from compute_nb.serialize import *

scale = 3

def repeated(text, by=1):
    return [text] * by

def scaled(x):
    return x * scale

def maker():
    return lambda x: x + 1

code = (DillCode, DillCodeSource, DillCodeTextInspect, PureSourceDill, PureSourceTextInspect,
        CombinedCode, AllCodeStrategies)
data = (DillDataBase64, JSONData, AllDataStrategies)
trips = 0
for kind in code:
    for other in data:
        serializer = ComputeSerializer(kind(), other())
        with Executor("local", serializer=serializer, result_serializers=[other, DillCode]) as executor:
            function_id = executor.register_function(repeated)
            future = executor.submit(repeated, "gr\\u00fc\\u00df: \\u2603 \\udc80", by=2)
            assert future.result() == ["gr\\u00fc\\u00df: \\u2603 \\udc80"] * 2
            assert future.raw[:3] == other.identifier
            assert executor.submit(maker).result()(1) == 2
            meta = executor.client.get_function(function_id)["metadata"]
            assert meta["serde_identifier"] == kind.identifier[:2]
            if kind in (DillCode, CombinedCode, AllCodeStrategies):
                assert executor.submit(scaled, 2).result() == 6
            trips += 1
print(trips)
"""


def test_every_strategy_makes_the_whole_trip(run_script: RunScript) -> None:
    assert run_script(STRATEGIES) == "21\n"
