"""The public names and signatures of the published package, as JSON; run by an interpreter that has it."""

import inspect
import json

import globus_compute_sdk as sdk
from globus_compute_sdk import errors, serialize
from globus_compute_sdk.sdk.batch import Batch
from globus_compute_sdk.sdk.executor import ComputeFuture

CLASSES = (
    sdk.Client,
    sdk.Executor,
    Batch,
    ComputeFuture,
    sdk.ShellFunction,
    sdk.ShellResult,
    sdk.MPIFunction,
)


def parameters(function):
    """Name, kind, and default as text, of each parameter but `self`."""
    found = list(inspect.signature(function).parameters.values())
    return [
        [p.name, p.kind.name, "" if p.default is p.empty else repr(p.default)]
        for p in found
        if p.name != "self"
    ]


def members(kind):
    own = [base for base in kind.__mro__ if base.__module__.startswith("globus_compute_sdk")]
    names = {name for base in own for name in vars(base) if not name.startswith("_")}
    found = {name: getattr(kind, name) for name in sorted(names)}
    return {name: parameters(value) if callable(value) else None for name, value in found.items()}


def surface():
    told = {}
    for kind in CLASSES:
        told[kind.__name__] = {"__init__": parameters(kind.__init__), **members(kind)}
    for name, kind in vars(errors).items():
        if isinstance(kind, type):
            told[name] = {"__init__": parameters(kind.__init__)}
    return told


print(json.dumps({"classes": surface(), "names": list(sdk.__all__), "serialize": list(serialize.__all__)}))
