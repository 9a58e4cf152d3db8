"""An SDK as a process, PYTHON sdk_client.py PACKAGE URL TOKEN: JSON requests in, answers out.

PACKAGE is `globus_compute_sdk` or `compute_nb`; all is the same for both but for the way to a service.
"""

import importlib
import json
import os
import sys
import time
import uuid

package, url, token = sys.argv[1:]
sdk = importlib.import_module(package)
serialize = importlib.import_module(f"{package}.serialize")
errors = importlib.import_module(f"{package}.errors")
if package == "globus_compute_sdk":
    import globus_sdk

    importlib.import_module("globus_compute_sdk.sdk.client").get_web_service_url = lambda *_, **__: url
    client = sdk.Client(authorizer=globus_sdk.AccessTokenAuthorizer(token))
else:
    os.environ.update(COMPUTE_NB_SERVICE_URL=url, COMPUTE_NB_TOKEN=token)
    client = sdk.Client()


def double(x):
    return x * 2


def fail(text):
    raise ValueError(text)


def wait_for(path):
    with open(path) as pipe:
        return pipe.read()


def executor(endpoint_id, **settings):
    settings = {"api_burst_limit": 8, "api_burst_window_s": 1} | settings
    group = settings.pop("group", None) or uuid.uuid4()
    return sdk.Executor(endpoint_id, client, task_group_id=group, **settings)


def submit(endpoint_id, count):
    with executor(endpoint_id) as one:
        futures = [one.submit(double, n) for n in range(count)]
        return [future.result(150) for future in futures]


def failure(endpoint_id):
    with executor(endpoint_id) as one:
        bad, good = one.submit(fail, "not so"), one.submit(double, 4)
        try:
            bad.result(150)
        except errors.TaskExecutionFailed as error:
            return [isinstance(error, errors.TaskExecutionFailed), "not so" in str(error), good.result(150)]


def leave(endpoint_id, path):
    """Submits, waits until all of it must have been sent, and lets go."""
    one = executor(endpoint_id)
    one.submit(wait_for, path)
    assert one.submit(double, 5).result(150) == 10
    return str(one.task_group_id)


def reload(endpoint_id, group):
    with executor(endpoint_id, group=group) as one:
        return sorted(str(future.result(150)) for future in one.reload_tasks())


def run(endpoint_id):
    function_id = client.register_function(double)
    return _value(client.run(8, endpoint_id=endpoint_id, function_id=function_id))


def batch(endpoint_id):
    function_id = client.register_function(double)
    collected = client.create_batch()
    for n in range(3):
        collected.add(function_id, (n,))
    answer = client.batch_run(endpoint_id, collected)
    task_ids = answer["tasks"][function_id]
    while True:
        found = client.get_batch_result(task_ids)
        if not any(task["pending"] for task in found.values()):
            return [found[task_id]["result"] for task_id in task_ids]
        time.sleep(0.02)


def shell(endpoint_id):
    command = sdk.ShellFunction("echo {word}; echo no >&2; exit 3")
    with executor(endpoint_id) as one:
        done = one.submit(command, word="yes").result(150)
    return [done.returncode, done.stdout, "no" in done.stderr, done.cmd]


def as_json(endpoint_id):
    """Arguments and results that are no pickles; what has no JSON fails alone."""
    serializer = serialize.ComputeSerializer(strategy_data=serialize.JSONData())
    with executor(endpoint_id, serializer=serializer, result_serializers=[serialize.JSONData()]) as one:
        good, bad = one.submit(double, [1, "a"]), one.submit(complex, 1)
        try:
            bad.result(150)
        except errors.TaskExecutionFailed:
            return good.result(150)


def combined(endpoint_id):
    serializer = serialize.ComputeSerializer(serialize.AllCodeStrategies(), serialize.AllDataStrategies())
    results = [serialize.AllDataStrategies()]
    with executor(endpoint_id, serializer=serializer, result_serializers=results) as one:
        return [one.submit(double, value).result(150) for value in (3, "ab", [1.5])]


def large(endpoint_id, size):
    with executor(endpoint_id) as one:
        return len(one.submit(double, "x" * size).result(150))


def configured(endpoint_id, config, count):
    """Submits with a user endpoint configuration of one's own."""
    with executor(endpoint_id, user_endpoint_config=config) as one:
        return [one.submit(double, n).result(150) for n in range(count)]


def refused(endpoint_id, config):
    try:
        configured(endpoint_id, config, 1)
    except errors.TaskExecutionFailed as error:
        return str(error)


def run_source(endpoint_id):
    return _value(client.run(9, endpoint_id=endpoint_id, function_id=source()))


def _value(task_id):
    while True:
        try:
            return client.get_result(task_id)
        except errors.TaskPending:
            time.sleep(0.02)


def register():
    return client.register_function(double, description="twice")


def source():
    return client.register_source_code("def half(x):\n    return x / 2\n", "half")


def function(function_id):
    found = client.get_function(function_id)
    client.delete_function(function_id)
    return found["function_name"]


def endpoints(endpoint_id):
    status = client.get_endpoint_status(endpoint_id)["status"]
    about = client.get_endpoint_metadata(endpoint_id)["uuid"]
    return [status, about, endpoint_id in {one["uuid"] for one in client.get_endpoints()}]


def manage():
    """An endpoint's life as its owner sees it, and the way to results."""
    made = client.register_endpoint("kept", None, {"endpoint_version": "4.19.0"}, display_name="Kept")
    kept = made["endpoint_id"]
    again = client.register_endpoint("kept", kept, {"endpoint_version": "4.19.0"}, public=False)
    restricted = client.get_allowed_functions(kept)["restricted"]
    prefix = client.get_result_amqp_url()["queue_prefix"]
    client.stop_endpoint(kept)
    client.delete_endpoint(kept)
    return [again["endpoint_id"] == kept, restricted, prefix]


def hardware(endpoint_id):
    """Asks for the report; its function is another one on each side."""
    return len(client.get_worker_hardware_details(endpoint_id))


OPERATIONS = {
    name: globals()[name]
    for name in (
        "as_json",
        "batch",
        "combined",
        "configured",
        "endpoints",
        "failure",
        "function",
        "hardware",
        "large",
        "leave",
        "manage",
        "register",
        "refused",
        "reload",
        "run",
        "run_source",
        "shell",
        "source",
        "submit",
    )
}

for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = {"ok": OPERATIONS[request.pop("do")](**request)}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
