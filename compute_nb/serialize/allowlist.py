"""This module is the allow-list: the strategies whose buffers a serializer may read."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from compute_nb.errors import DeserializationError, SerdeError
from compute_nb.serialize.strategy import IDENTIFIER_LENGTH, by_identifier, known, resolve


class AllowlistWildcard(StrEnum):
    """All strategies of one kind that may be chosen."""

    CODE = "globus_compute_sdk.*Code"
    DATA = "globus_compute_sdk.*Data"


# spelling of a wildcard -> is it for code
_WILDCARDS = {
    **{str(wildcard): wildcard is AllowlistWildcard.CODE for wildcard in AllowlistWildcard},
    "compute_nb.*Code": True,
    "compute_nb.*Data": False,
}


class AllowList:
    """Identifiers that may be read.

    Args:
        given: Strategies as classes, instances or import paths, and wildcards.

    Raises:
        SerdeError: One kind is missing, a wildcard stands beside single strategies of its kind, or something
            is no strategy.
    """

    def __init__(self, given: Iterable[object]) -> None:
        items = list(given)
        wild = {_WILDCARDS[item] for item in items if isinstance(item, str) and item in _WILDCARDS}
        single = [resolve(item) for item in items if not (isinstance(item, str) and item in _WILDCARDS)]
        if any(strategy.for_code in wild for strategy in single):
            raise SerdeError("allowed_deserializer_types mixes a wildcard with single strategies of its kind")
        allowed = single + [
            strategy for strategy in known() if strategy.selectable and strategy.for_code in wild
        ]
        if {strategy.for_code for strategy in allowed} != {True, False}:
            raise SerdeError(
                "allowed_deserializer_types needs at least one strategy for code and one for data"
            )
        self._identifiers = frozenset(strategy.identifier for strategy in allowed)

    def check(self, payload: str) -> None:
        """Returns if a buffer may be read.

        Raises:
            DeserializationError: It may not; lists what may.
        """
        identifier = payload[:IDENTIFIER_LENGTH]
        if identifier in self._identifiers:
            return
        name = type(by_identifier(identifier)).__name__
        names = ", ".join(sorted(type(by_identifier(one)).__name__ for one in self._identifiers))
        raise DeserializationError(
            f"{name} is not allowed to be read here, only: {names}; ask for another one by "
            "result_serializers, or widen allowed_deserializer_types if the sender is trusted"
        )
