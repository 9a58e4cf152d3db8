"""This module is the kit: what a worker is handed together with every cell.

Its modules travel as text (`cargo.payload`) and form a package there under a name of their own,
so they import each other by relative names and else nothing but the standard library of Python 3.8. `source`
to `packer` run on both sides: the notebook packs inputs and unpacks results, the worker the other way round.
`outside` to `harness` run on the worker only.
"""

# In the order in which each finds those that it imports.
MODULES = (
    "source",
    "arrays",
    "home",
    "skeleton",
    "dataclass",
    "unpacker",
    "packer",
    "outside",
    "items",
    "figures",
    "display",
    "ipython",
    "settings",
    "loggers",
    "surroundings",
    "trace",
    "failure",
    "travelled",
    "harness",
)
