"""This module is the turning of functions and values into text and back, in the published formats."""

from compute_nb.serialize.allowlist import AllowlistWildcard
from compute_nb.serialize.code import DillCode, PickleCode
from compute_nb.serialize.combined import (
    AllCodeStrategies,
    AllDataStrategies,
    CombinedCode,
    ComboSerializationStrategy,
)
from compute_nb.serialize.data import DillDataBase64, JSONData
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.source import (
    DillCodeSource,
    DillCodeTextInspect,
    PureSourceDill,
    PureSourceTextInspect,
)
from compute_nb.serialize.strategy import SerializationStrategy

# Not in __all__, which lists what a worker or a cell may be told to choose from.
DEFAULT_STRATEGY_CODE = DillCode()
DEFAULT_STRATEGY_DATA = DillDataBase64()

__all__ = [
    "AllCodeStrategies",
    "AllDataStrategies",
    "AllowlistWildcard",
    "CombinedCode",
    "ComboSerializationStrategy",
    "ComputeSerializer",
    "DillCode",
    "DillCodeSource",
    "DillCodeTextInspect",
    "DillDataBase64",
    "JSONData",
    "PickleCode",
    "PureSourceDill",
    "PureSourceTextInspect",
    "SerializationStrategy",
]
