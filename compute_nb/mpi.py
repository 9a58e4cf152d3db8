"""This module is the MPI function: a command line that an MPI engine starts on several nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compute_nb.shell import ShellFunction

_SIZES = ("num_nodes", "ranks_per_node", "num_ranks")
_KEYS = {*_SIZES, "launcher_options"}


class MPIFunction(ShellFunction):
    """A command line that is started by the engine's MPI launcher; otherwise a `ShellFunction`.

    It needs an endpoint with an MPI engine, and an Executor with a `resource_specification`: `num_nodes`,
    `ranks_per_node`, `num_ranks` (counts from 1; what is left out is computed) and `launcher_options` (text).
    Arguments and keys are those of the published documentation (Globus Compute SDK, "MPI Functions").
    """

    prefix = "$PARSL_MPI_PREFIX "
    _needs = "PARSL_MPI_PREFIX"

    def specification(self, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Returns the resource_specification with what was left out.

        Raises:
            ValueError: It is empty, has unknown keys, or its numbers don't fit together.
        """
        return completed(given or {})


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a resource_specification with what was left out.

    Raises:
        ValueError: As `MPIFunction.specification`.
    """
    unknown = sorted(map(str, given.keys() - _KEYS))
    if unknown:
        raise ValueError(f"resource_specification has unknown keys {unknown}; known are {sorted(_KEYS)}")
    sizes = {name: given[name] for name in _SIZES if given.get(name) is not None}
    if not sizes:
        raise ValueError(
            "an MPIFunction needs a resource_specification that says how many ranks, such as "
            f'{{"num_nodes": 2, "ranks_per_node": 4}}, not {dict(given)}'
        )
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} in resource_specification is a count from 1, not {value!r}")
    launcher_options = given.get("launcher_options")
    if not isinstance(launcher_options, str | None):
        text = f"launcher_options in resource_specification is text, not {launcher_options!r}"
        raise ValueError(text)  # noqa: TRY004 - one kind of error for all that is wrong in it
    sizes = _computed(**sizes)
    if sizes["num_ranks"] > sizes["num_nodes"] * sizes["ranks_per_node"]:
        raise ValueError(f"resource_specification has more ranks than its nodes can take: {sizes}")
    return sizes | ({"launcher_options": launcher_options} if launcher_options is not None else {})


def _computed(
    num_nodes: int | None = None, ranks_per_node: int | None = None, num_ranks: int | None = None
) -> dict[str, int]:
    if num_nodes is None:
        num_nodes = 1 if num_ranks is None or ranks_per_node is None else -(-num_ranks // ranks_per_node)
    if ranks_per_node is None:
        ranks_per_node = 1 if num_ranks is None else -(-num_ranks // num_nodes)
    if num_ranks is None:
        num_ranks = num_nodes * ranks_per_node
    return {"num_nodes": num_nodes, "ranks_per_node": ranks_per_node, "num_ranks": num_ranks}
