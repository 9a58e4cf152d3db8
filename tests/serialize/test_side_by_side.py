"""Threads that serialize at the same time."""

from __future__ import annotations

import ast
import gc
import inspect
import json.decoder
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from compute_nb import syntax
from compute_nb.endpoint.runner import source as runner
from compute_nb.notebook.kit import source as kit

ALL = pytest.mark.parametrize(
    "beside_others", [syntax.beside_others, kit.beside_others, runner.beside_others]
)


class Finalized:
    def __del__(self) -> None:
        """Python code, in which threads may change while a tree is being made."""


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change as often as they can, and most of all while objects are made."""
    interval, threshold, over = sys.getswitchinterval(), gc.get_threshold(), threading.Event()

    def churn() -> None:
        while not over.is_set():
            ring = [Finalized()]
            ring.append(ring)

    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    churning = threading.Thread(target=churn)
    churning.start()
    yield
    over.set()
    churning.join()
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@ALL
@pytest.mark.usefixtures("restless")
def test_trees_are_made_side_by_side(beside_others: Callable[..., ast.Module]) -> None:
    text = inspect.getsource(json.decoder)
    whole = ast.dump(ast.parse(text))
    with ThreadPoolExecutor(4) as pool:
        trees = list(pool.map(lambda _: beside_others(ast.parse, text), range(250)))
    assert {ast.dump(tree) for tree in trees[::40]} == {whole}


@ALL
def test_an_error_that_stays_is_told(beside_others: Callable[..., ast.Module]) -> None:
    def broken() -> ast.Module:
        raise SystemError("for good")

    with pytest.raises(SystemError, match="for good"):
        beside_others(broken)
