"""This module is the registration of functions and endpoints: the bodies of those requests."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.shell import ShellFunction

Id = UUID | str


def of_function(
    function: Callable[..., Any],
    code: str,
    metadata: Mapping[str, Any] | None,
    description: str | None,
    **given: Any,
) -> dict[str, Any]:
    """Returns the body that stores a function whose buffer is `code`; `given` as in `of_source`."""
    about = function.cmd if isinstance(function, ShellFunction) else getattr(function, "__doc__", None)
    fields = {
        "function_name": _name_of(function),
        "function_code": ComputeSerializer.pack_buffers([code]),
        "serialized": True,
        "meta": _meta(metadata, code[:2]),
    }
    return fields | _given(description=description or about, **given)


def of_source(
    source: str, function_name: str, metadata: Mapping[str, Any] | None, **given: Any
) -> dict[str, Any]:
    """Returns the body that stores a function given by its source and its name in it.

    Args:
        source: Python.
        function_name: Its name there.
        metadata: More of it.
        given: `description`, `public`, `group`, `ha_endpoint_id`; what is empty is left out.
    """
    fields = {
        "function_name": function_name,
        "function_code": source,
        "serialized": False,
        "meta": _meta(metadata, None),
    }
    return fields | _given(**given)


def of_endpoint(
    name: str, metadata: Mapping[str, Any] | None, ids: Mapping[str, Sequence[Id] | None], **given: Any
) -> dict[str, Any]:
    """Returns the body that registers an agent; what is None is left out.

    Args:
        name: Of the endpoint.
        metadata: What the agent tells of itself.
        ids: Lists of ids; what is empty is left out.
        given: The other fields.
    """
    lists = {key: [str(one) for one in some] for key, some in ids.items() if some}
    texts = {key: str(one) if isinstance(one, UUID) else one for key, one in given.items() if one is not None}
    return {"endpoint_name": name, "metadata": dict(metadata or {})} | lists | texts


def _given(
    description: str | None, public: bool, group: Id | None, ha_endpoint_id: Id | None
) -> dict[str, Any]:
    given = {
        "description": description,
        "public": public or None,
        "group": group and str(group),
        "ha_endpoint_id": ha_endpoint_id and str(ha_endpoint_id),
    }
    return {name: value for name, value in given.items() if value is not None}


def _meta(metadata: Mapping[str, Any] | None, serde_identifier: str | None) -> dict[str, Any]:
    from compute_nb import __version__

    meta = {"python_version": platform.python_version(), "sdk_version": __version__}
    if serde_identifier is not None:
        meta["serde_identifier"] = serde_identifier
    return {**meta, **(metadata or {})}


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
