"""How a coefficient is spread over rows: a histogram of theta(x), which describes and is not inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepdml.results.plots.style import COLORS, ROOM, canvas, level_text, literal, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

TAIL = 0.005  # share of rows on either side that may be left out where it would stretch the axis
STRETCH = 2.0  # by more than this factor


def draw_distribution(
    values: Float,
    weights: Float | None,
    average: float,
    interval: tuple[float, float],
    *,
    alpha: float,
    xlabel: str,
    bins: int,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of rows by coefficient, with the average and its interval.

    Parameters
    ----------
    values : (n,) array
        Cross-fitted coefficients of the rows.
    weights : (n,) array or None
        Sampling weights.
    average : float
        The estimated average, with its `interval` (low, high).
    """
    mass = np.ones(len(values)) if weights is None else weights
    ends = histogram_range(values)
    heights, edges = np.histogram(values, bins=bins, range=ends, weights=mass / mass.sum())
    outside = 1 - heights.sum()
    with canvas(ax, (5.6, 3.4)) as ax:
        described = "\u03b8(x) of the rows: descriptive, without intervals"
        if outside > 1e-9:
            described += f"\n({outside:.1%} of the rows lie outside)".replace("%", " %")
        ax.stairs(heights, edges, fill=True, color=COLORS[5], alpha=0.6, label=described)
        top = 1.03 * heights.max()
        ax.fill_betweenx([0.0, top], *interval, color=COLORS[1], alpha=0.25, linewidth=0)
        ax.plot(
            [average, average],
            [0.0, top],
            color=COLORS[1],
            label=f"average {number(average)}, {level_text(alpha)} interval "
            f"{number(interval[0])} to {number(interval[1])}",
        )
        ax.set_ylim(0.0, ROOM * heights.max())  # room for the legend
        ax.set_xlabel(literal(xlabel))
        ax.set_ylabel("share of rows")
        ax.legend(loc="upper left")
    return ax


def histogram_range(values: Float) -> tuple[float, float]:
    """Return the ends of a histogram: those of the values, or of all but the tails where these stretch it."""
    low, high = float(values.min()), float(values.max())
    inner = np.quantile(values, [TAIL, 1 - TAIL])
    if high - low > STRETCH * (inner[1] - inner[0]) > 0:
        low, high = inner.tolist()
    if high - low <= 1e-9 * max(abs(high), abs(low)):  # values that are all the same, up to rounding
        half = 0.05 * abs(high) or 0.5
        return low - half, high + half
    return low, high
