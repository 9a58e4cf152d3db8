"""Our names and signatures beside those of the published package; each difference has its reason."""

import inspect
import json
import re
import subprocess
from pathlib import Path

import pytest

import compute_nb
from compute_nb import Batch, Client, ComputeFuture, Executor, ShellResult, errors, serialize

HERE = Path(__file__).parent
SHELL_INSIDE = "how the published worker runs it, no part of its documentation"

# (class, member) -> why ours has none
LEFT_OUT = {
    (kind, name): SHELL_INSIDE
    for kind in ("ShellFunction", "MPIFunction")
    for name in (
        "execute_cmd_line",
        "get_and_close_streams",
        "get_snippet",
        "open_std_fd",
        "valid_function_name",
    )
}
# (class, member, parameter) -> why ours is not the same
DIFFERENT = {
    ("Client", "__init__", "kwargs"): "called `ignored`, which says what becomes of them",
    ("Client", "batch_run", "batch"): "optional: the older form `batch_run(batch)` works too",
    ("Client", "register_endpoint", "endpoint_id"): "optional: None means a new one",
    ("Executor", "__init__", "kwargs"): "a wrong name is a TypeError by the signature itself",
    ("Executor", "register_function", "func_register_kwargs"): "called `registration`",
    ("Executor", "register_source_code", "registration_kwargs"): "called `registration`",
    ("Executor", "submit", "fn"): "positional only, so that a task may have an argument `fn`",
    ("Batch", "add", "args"): "by `*given, **named`: the older form names the endpoint before it",
    ("Batch", "add", "kwargs"): "as `args`",
}
# What the published documentation tells of instances, where a signature says nothing
DOCUMENTED = {
    "Client": ("web_service_address", "app", "authorizer", "fx_serializer"),
    "Executor": (
        "client",
        "label",
        "batch_size",
        "api_burst_limit",
        "api_burst_window_s",
        "task_count_submitted",
    ),
    "Batch": ("tasks",),
    "ComputeFuture": ("task_id",),
    "ShellResult": ("cmd", "stdout", "stderr", "returncode", "exception_name"),
}


@pytest.fixture(scope="module")
def published(published_python):
    command = [published_python, str(HERE / "surface.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def ours(name):
    return getattr(errors, name) if hasattr(errors, name) else getattr(compute_nb, name)


def signature(function):
    found = inspect.signature(function).parameters.values()
    return {p.name: [p.name, p.kind.name, "" if p.default is p.empty else repr(p.default)] for p in found}


def test_every_published_name_is_ours_too(published):
    assert set(published["names"]) <= {*compute_nb.__all__, "__author__"}
    assert [name for name in published["serialize"] if not hasattr(serialize, name)] == []
    missing = {
        (kind, name)
        for kind, members in published["classes"].items()
        for name in members
        if not hasattr(ours(kind), name) and name not in _attributes(kind)
    }
    assert missing == set(LEFT_OUT)


def test_instances_have_what_is_documented():
    made = (
        Client(do_version_check=False),
        Executor(client=Client(do_version_check=False)),
        Batch(None),
        ComputeFuture(),
        ShellResult("true", "", "", 0),
    )
    for one in made:
        for name in DOCUMENTED[type(one).__name__]:
            if name != "web_service_address":  # asks where the service is
                getattr(one, name)
    assert isinstance(Client.web_service_address, property)


def test_every_published_signature_is_ours_too(published):
    different = set()
    for kind, members in published["classes"].items():
        for name, parameters in members.items():
            if parameters is None or (kind, name) in LEFT_OUT:
                continue
            own = signature(getattr(ours(kind), name))
            different |= {(kind, name, p[0]) for p in parameters if own.get(p[0]) != p}
    assert different == set(DIFFERENT)


def test_published_parameters_have_their_places(published):
    """What may be given by position has the published order."""
    for kind, members in published["classes"].items():
        for name, parameters in members.items():
            if parameters is None or (kind, name) in LEFT_OUT or (kind, name) == ("Batch", "add"):
                continue
            wanted = [p[0] for p in parameters if p[1] == "POSITIONAL_OR_KEYWORD"]
            own = signature(getattr(ours(kind), name))
            have = [p for p, (_, how, _) in own.items() if how.startswith("POSITIONAL") and p != "self"]
            assert have[: len(wanted)] == wanted, (kind, name)


def _attributes(kind):
    one = {"Client": Client, "Executor": Executor, "Batch": lambda: Batch(None)}.get(kind)
    return set() if one is None else vars(one())


def test_the_documentation_names_them_all(published):
    """docs/sdk.md has a row for each published name, and for each difference of this file."""
    text = (HERE.parent.parent / "docs" / "sdk.md").read_text()
    rows = {name for cell in re.findall(r"^\| (`[^|]*)\|", text, re.MULTILINE) for name in cell.split()}
    rows = {name.strip("`") for name in rows}
    wanted = {
        f"{kind}.{name}" if name != "__init__" else kind
        for kind, members in published["classes"].items()
        for name in members
        if (kind, name) not in LEFT_OUT
    }
    documented = {f"{kind}.{name}" for kind, names in DOCUMENTED.items() for name in names}
    assert wanted | documented - {f"ShellResult.{n}" for n in DOCUMENTED["ShellResult"]} <= rows
