"""The notebook side: `%%compute`, its panel, and what a cell means on a worker."""

from typing import Any


def load_ipython_extension(ipython: Any) -> None:
    """Brings `%%compute` into an IPython shell, once."""
    from compute_nb.notebook.completion import install
    from compute_nb.notebook.magic import ComputeMagics

    if "ComputeMagics" not in ipython.magics_manager.registry:
        magics = ComputeMagics(ipython)
        ipython.register_magics(magics)
        install(ipython, magics)
