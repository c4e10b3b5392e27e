"""What all figures share: the canvas, colours that colour-blind readers can tell apart, and text taken literally."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import MissingLibraryError, OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

# Okabe and Ito's palette without its yellow, which is too light for lines on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
GREY = "#6E6E6E"
ROOM = 1.35  # height of a histogram's axis over its highest bar, for a legend of three lines
NAME_WIDTH = 30  # characters of a tick label before it is broken

SETTINGS: Any = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 10.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "butt",
}


@contextmanager
def canvas(ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
    """Give the Axes to draw on, under settings fit for print; the user's own settings come back afterwards.

    Parameters
    ----------
    ax : Axes or None
        Drawn on as it is; None opens a figure of `size` inches.

    Raises
    ------
    MissingLibraryError
        Without matplotlib.
    OptionError
        If `ax` is not an Axes.
    """
    matplotlib = _matplotlib()
    if ax is not None and not isinstance(ax, matplotlib.axes.Axes):
        raise OptionError(
            f"ax is a {type(ax).__name__}; it must be one matplotlib Axes, such as those of plt.subplots()."
        )
    with matplotlib.rc_context(SETTINGS):
        if ax is None:
            # with an Axes at hand pyplot and its list of figures are left alone
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=size, layout="constrained")
        yield ax


def picture(draw: Callable[..., object], size: tuple[float, float]) -> bytes:
    """Return what a function of `ax` draws on a figure of `size` inches, as SVG; the same drawing, the same bytes.

    Raises
    ------
    MissingLibraryError
        Without matplotlib.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": "deepdml", "svg.fonttype": "path"}):
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        draw(ax=figure.add_subplot())
        target = io.BytesIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def _matplotlib() -> Any:
    """Return matplotlib with the parts used here, none of which opens windows."""
    try:
        import matplotlib.axes
        import matplotlib.figure
    except ImportError as error:
        raise MissingLibraryError("figures need matplotlib: pip install 'deepdml[plots]'") from error
    return matplotlib


def literal(text: str) -> str:
    r"""Return text in which dollar signs are dollars, not mathematics.

    Examples
    --------
    >>> print(literal("cost ($)"))
    cost (\$)
    """
    return text.replace("$", r"\$")


def tick_name(name: str) -> str:
    """Return a name for a tick, broken into lines where it is long."""
    return literal("\n".join(textwrap.wrap(name, NAME_WIDTH)) or name)


def level_text(alpha: float) -> str:
    """Return the level of an interval in words, "95 %"."""
    return f"{100 * (1 - alpha):g} %"


def number(value: float) -> str:
    """Return a number for a legend: four significant digits, a true minus sign.

    Examples
    --------
    >>> number(-0.123456)
    '\N{MINUS SIGN}0.1235'
    """
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
