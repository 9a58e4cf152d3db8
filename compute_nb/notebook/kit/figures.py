"""This module is the figures of a cell: pyplot draws into memory, and what it drew is displayed."""

from __future__ import annotations

import base64
import io
import sys
import types
from typing import Any

from .items import fitting, items_of_cell

FIGURES = "_compute_nb_figures"


def prepare_figures() -> None:
    """Makes pyplot draw into memory, whatever the environment of the worker says."""
    if FIGURES not in sys.modules:
        backend = types.ModuleType(FIGURES)
        backend.__dict__["show"] = show_figures
        backend.__dict__["__getattr__"] = _backend_part
        sys.modules[FIGURES] = backend
    close_figures()
    if "matplotlib.pyplot" in sys.modules:
        _draw_into_memory()
    elif not any(isinstance(finder, _FirstImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _FirstImport())


def put_back_figures() -> None:
    """Undoes it, as far as a process that has imported pyplot can."""
    sys.meta_path[:] = [found for found in sys.meta_path if not isinstance(found, _FirstImport)]
    close_figures()


def _draw_into_memory() -> None:
    sys.modules["matplotlib"].use("module://" + FIGURES)


class _FirstImport:
    """Finds no module, but learns when pyplot is imported.

    `MPLBACKEND` would be simpler, but programs that the cell starts inherit it and have no such backend.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Called by Python for each module that is not loaded yet."""
        if name == "matplotlib.pyplot":
            _draw_into_memory()


def _backend_part(name: str) -> Any:
    if name == "FigureCanvas":
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        sys.modules[FIGURES].__dict__[name] = FigureCanvasAgg  # pyplot looks here next
        return FigureCanvasAgg
    raise AttributeError(name)


def show_figures(*_: Any, **__: Any) -> None:
    """Adds the open figures to what the cell has displayed, and closes them; `plt.show()`."""
    pylab, items = sys.modules.get("matplotlib._pylab_helpers"), items_of_cell()
    if pylab is None or items is None:
        return
    for manager in pylab.Gcf.get_all_fig_managers():
        figure = manager.canvas.figure
        items.show(fitting(figure_data(figure), figure), {})
    close_figures()


def close_figures() -> None:
    """Closes what is open in pyplot."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


def figure_data(figure: Any) -> dict[str, Any]:
    """Returns the display data of a figure."""
    file = io.BytesIO()
    look = {"facecolor": figure.get_facecolor(), "edgecolor": figure.get_edgecolor(), "dpi": figure.dpi}
    figure.savefig(file, format="png", bbox_inches="tight", **look)
    width, height = figure.get_size_inches() * figure.dpi
    png = base64.b64encode(file.getvalue()).decode()
    text = f"<Figure size {width:.0f}x{height:.0f} with {len(figure.axes)} Axes>"
    return {"image/png": png, "text/plain": text}


def is_figure(value: Any) -> bool:
    """Returns whether a value is a figure, which is shown as a picture."""
    module = sys.modules.get("matplotlib.figure")
    return module is not None and isinstance(value, module.Figure)


def is_artist(value: Any) -> bool:
    """Returns whether a value is drawn things only, which are not sent as values."""
    artist = sys.modules.get("matplotlib.artist")
    if artist is None:
        return False
    if isinstance(value, artist.Artist):
        return True
    if type(value).__module__.partition(".")[0] == "matplotlib":
        return True
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype == object:
        value = value.ravel().tolist()
    return isinstance(value, (list, tuple)) and bool(value) and all(map(is_artist, value))
