"""This module is the seeds of a task: generators of random numbers that begin where its place says.

Its text travels with cells that ask for it: the standard library of Python 3.8 only.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
from typing import Any


class Seeds:
    """Seeds what a cell draws from, for as long as it runs.

    `random` and numpy are seeded on every worker, also if the cell is the first there to import numpy; torch
    where it is loaded or its name stands in the cell.

    Args:
        seed: Of the cell.
        index: Place of the task in its group.
        source: The body.
    """

    def __init__(self, seed: int, index: int, source: str) -> None:
        self._seed, self._index, self._source = seed, index, source
        self._text = f"{seed}/{index}"
        self._numpy: Any = None
        self._default_rng: Any = None
        self._unseeded = 0

    def __enter__(self) -> Seeds:
        random.seed(self._text)
        self._seed_numpy()
        if "torch" in sys.modules or "torch" in self._source:
            torch = _module("torch")
            if hasattr(torch, "manual_seed"):
                torch.manual_seed(self._number() >> 1)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._numpy is not None:
            self._numpy.default_rng = self._default_rng

    def _seed_numpy(self) -> None:
        numpy_random = _module("numpy.random")
        if not hasattr(numpy_random, "default_rng"):  # not here, or an old one
            if hasattr(numpy_random, "seed"):
                numpy_random.seed(self._number() >> 32)
            return
        words = numpy_random.SeedSequence([self._seed, self._index]).generate_state(16)
        numpy_random.seed(words)
        self._numpy, self._default_rng = numpy_random, numpy_random.default_rng
        numpy_random.default_rng = self._seeded_rng

    def _seeded_rng(self, seed: Any = None) -> Any:
        """Stands for `numpy.random.default_rng`: without a seed, each call has a stream of its own."""
        if seed is None:
            self._unseeded += 1
            seed = [self._seed, self._index, self._unseeded]
        return self._default_rng(seed)

    def _number(self) -> int:
        return int.from_bytes(hashlib.sha256(self._text.encode()).digest()[:8], "big")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - a library that can't be loaded here has nothing to seed
        return None
