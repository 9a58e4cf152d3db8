"""Imports point one way (README, "The map"): this test is what keeps them so."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from compute_nb.notebook.kit import MODULES as MODULES_OF_KIT

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compute_nb"
SDK = {"executor", "session", "watcher", "submitter", "future", "client", "local", "serialize"}
SIBLINGS = {"notebook", "service", "endpoint"}

# part -> parts of compute_nb that it may never import
FORBIDDEN = {
    "errors": {"*"},
    "command": {"*"},
    "shell_result": SDK | SIBLINGS | {"cli", "amqp", "config", "wire", "shell", "mpi"},
    "shell": SDK - {"serialize"} | SIBLINGS | {"cli", "amqp", "config", "mpi"},
    "mpi": SDK | SIBLINGS | {"cli", "amqp", "config"},
    "tasks": SDK | SIBLINGS | {"cli", "amqp", "config", "wire"},
    "published_messages": SDK | SIBLINGS | {"cli", "amqp", "config", "wire"},
    "wire": SDK | SIBLINGS | {"cli", "amqp", "config"},
    "broker_address": SDK | SIBLINGS | {"cli", "config", "amqp"},
    "side_reader": SDK | SIBLINGS | {"cli", "config", "amqp"},
    "amqp": SDK | SIBLINGS | {"cli", "config"},
    "home": SDK | SIBLINGS | {"cli", "amqp", "wire", "config"},
    "private": SDK | SIBLINGS | {"cli", "amqp", "wire", "config", "home", "tasks"},
    "config": SDK | SIBLINGS | {"cli", "amqp", "wire"},
    "serialize": SIBLINGS | {"cli", "amqp", "config"} | SDK - {"serialize"},
    "client": SIBLINGS | {"cli", "amqp"} | {"executor", "session", "watcher", "submitter"},
    "submitter": SIBLINGS | {"cli", "executor", "session", "watcher"},
    "watcher": SIBLINGS | {"cli", "executor", "session"},
    "executor": SIBLINGS | {"cli"},
    "service": SIBLINGS - {"service"} | SDK | {"cli"},
    "endpoint": SIBLINGS - {"endpoint"} | {"cli", "executor", "session", "watcher", "submitter"},
    "notebook": SIBLINGS - {"notebook"} | {"cli", "amqp", "submitter", "watcher"},
}
# packages that a part may never import, at any depth of its own source
FOREIGN = {
    "service": {"dill", "pickle", "IPython", "ipywidgets", "requests"},
    "executor": {"IPython", "ipywidgets"},
    "session": {"IPython", "ipywidgets"},
    "future": {"IPython", "ipywidgets"},
    "command": {"compute_nb"},
}


# packages of the notebook side, each may import what stands before it
FLOORS = ("kit", "body", "line", "cargo", "runs", "view", "memory", "commands")


# the program of a worker, which runs where there is no compute_nb
RUNNER = "compute_nb.endpoint.runner"


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """Every module that a source file imports, also inside functions and not only for type checking."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base]).rstrip(".")
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    """The place of a notebook module in FLOORS; -1 for all others."""
    parts = module.split(".")
    return FLOORS.index(parts[2]) if parts[1:2] == ["notebook"] and parts[2:3] and parts[2] in FLOORS else -1


MODULES = modules()
GRAPH = {name: imports(name, path) & set(MODULES) - {name} for name, path in MODULES.items()}


def test_no_cycles() -> None:
    # The facade exports lazily: what its __getattr__ imports is no dependency of its parts.
    graph = {name: needs - {"compute_nb"} for name, needs in GRAPH.items() if name != "compute_nb"}
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {
        name: {need for need in needs if not (need in packages and name.startswith(need + "."))}
        for name, needs in graph.items()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_one_way(name: str) -> None:
    own = part(name)
    if own not in FORBIDDEN:
        return
    used = {part(need) for need in GRAPH[name]} - {own, ""}
    wrong = used if "*" in FORBIDDEN[own] else used & FORBIDDEN[own]
    assert not wrong, f"{name} imports {sorted(wrong)}"


@pytest.mark.parametrize("name", sorted(name for name in MODULES if floor(name) >= 0))
def test_the_notebook_is_built_in_floors(name: str) -> None:
    above = {need for need in GRAPH[name] if floor(need) > floor(name)}
    assert not above, f"{name} imports {sorted(above)}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_foreign_packages(name: str) -> None:
    used = {need.split(".")[0] for need in imports(name, MODULES[name])}
    for key in (part(name), name.rpartition(".")[2]):
        assert not used & FOREIGN.get(key, set())


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith(RUNNER)))
def test_the_runner_travels_alone(name: str) -> None:
    tree = ast.walk(ast.parse(MODULES[name].read_text()))
    assert not [node for node in tree if isinstance(node, ast.ImportFrom) and node.level > 1]
    used = imports(name, MODULES[name])
    assert all(need.startswith(f"{RUNNER}.") for need in used if need.startswith("compute_nb"))
    assert {need.split(".")[0] for need in used} <= {"compute_nb", *sys.stdlib_module_names}


def test_the_kit_travels_alone() -> None:
    package = "compute_nb.notebook.kit"
    names = [f"{package}.{name}" for name in MODULES_OF_KIT]
    assert sorted([package, *names]) == sorted(name for name in MODULES if name.startswith(package))
    for place, name in enumerate(names):
        known = {package, *names[:place]}
        needs = {need for need in imports(name, MODULES[name]) if need.startswith("compute_nb")}
        assert {need for need in needs if need in MODULES} <= known, f"{name} stands before what it imports"
        absolute = {
            node.module or ""
            for node in ast.walk(ast.parse(MODULES[name].read_text()))
            if isinstance(node, ast.ImportFrom) and not node.level
        }
        others = {need.split(".")[0] for need in (imports(name, MODULES[name]) - needs) | absolute}
        assert others <= sys.stdlib_module_names | {"dill", "matplotlib"}, name


def test_nothing_heavy_at_import() -> None:
    heavy = ["pika", "requests", "dill", "IPython", "ipywidgets", "asyncio", "starlette"]
    code = (
        "import sys, threading, compute_nb; "
        f"print([m for m in {heavy} if m in sys.modules], threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 1"
