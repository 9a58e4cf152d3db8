"""Seeds of a task: the same on a warm and on a cold worker, different for each place, gone afterwards."""

import random
import subprocess
import sys
from typing import ClassVar

import pytest

from compute_nb.notebook.cargo.seeds import Seeds

numpy = pytest.importorskip("numpy")

DRAW = """
import random, sys
from compute_nb.notebook.cargo.seeds import Seeds
cold = "numpy" not in sys.modules
with Seeds(3, 5, ""):
    import numpy
    from numpy.random import default_rng
    print(cold, random.random(), numpy.random.rand(), default_rng().random(), default_rng().random())
"""


def draw(seed, index):
    with Seeds(seed, index, ""):
        fresh = numpy.random.default_rng
        return random.random(), numpy.random.rand(), fresh().random(), fresh().random()


def test_the_same_for_the_same_place_only():
    first = draw(3, 5)
    assert draw(3, 5) == first
    assert len({*first, *draw(3, 6), *draw(4, 5)}) == 12


def test_a_cold_worker_draws_the_same():
    done = subprocess.run([sys.executable, "-c", DRAW], capture_output=True, text=True, check=True)
    cold, *values = done.stdout.split()
    assert cold == "True"
    assert tuple(map(float, values)) == draw(3, 5)


def test_a_seed_of_the_cell_itself_counts():
    with Seeds(3, 5, ""):
        inside = numpy.random.default_rng(42).random()
    assert inside == numpy.random.default_rng(42).random()


def test_chance_is_back_afterwards():
    before = numpy.random.default_rng
    draw(3, 5)
    assert numpy.random.default_rng is before
    assert numpy.random.default_rng().random() != numpy.random.default_rng().random()


def test_torch_is_seeded_where_the_cell_names_it(monkeypatch):
    class Torch:
        seeds: ClassVar[list[int]] = []

        def manual_seed(self, seed):
            self.seeds.append(seed)

    monkeypatch.setitem(sys.modules, "torch", Torch())
    draw(3, 5)
    draw(3, 5)
    draw(3, 6)
    first, again, other = Torch.seeds
    assert first == again != other
    assert 0 <= first < 2**63
