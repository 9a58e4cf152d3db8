"""The notebook side: `%%compute`, its panel, and what a cell means on a worker."""

from typing import Any


def load_ipython_extension(ipython: Any) -> None:
    """Brings `%%compute` into an IPython shell, once; tells in one line what earlier runs were found."""
    magics = attach(ipython)
    line = magics.found()
    if line:
        ipython.display_pub.publish(data={"text/plain": line})
    magics.lay_earlier()


def attach(ipython: Any) -> Any:
    """Brings `%%compute` into a shell and takes up the notebook's earlier runs; returns the magics.

    Called by the JupyterLab plugin too, without a word to anybody, after a restart.
    """
    from compute_nb.notebook.commands.completion import install
    from compute_nb.notebook.magic import ComputeMagics, with_body

    if "ComputeMagics" not in ipython.magics_manager.registry:
        made = ComputeMagics(ipython)
        ipython.register_magics(made)
        install(ipython, made)
        ipython.input_transformers_cleanup.append(with_body)
    magics: ComputeMagics = ipython.magics_manager.registry["ComputeMagics"]
    magics.recall()
    return magics
