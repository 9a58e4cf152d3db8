"""This module is the turning of functions and values into text and back, in the published formats."""

from compute_nb.serialize.code import DillCode, PureSourceTextInspect
from compute_nb.serialize.data import DillDataBase64, JSONData
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.strategy import SerializationStrategy

__all__ = [
    "ComputeSerializer",
    "DillCode",
    "DillDataBase64",
    "JSONData",
    "PureSourceTextInspect",
    "SerializationStrategy",
]
