"""Overlap: cross-fitted propensities by level, and how much of a continuous treatment the covariates leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepdml.results.plots.distribution import histogram_range
from deepdml.results.plots.style import COLORS, GREY, ROOM, canvas, literal, number, tick_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SPANS = ((0.01, 0.99, 0.9), (0.25, 0.75, 3.2))  # quantiles of a bar and its width


def draw_propensity(
    propensity: Float,
    at_level: Bool,
    weights: Float | None,
    bounds: tuple[float, ...],
    *,
    level: str,
    bins: int = 40,
    ax: Axes | None = None,
) -> Axes:
    """Draw the distribution of P(level | x) among the rows at the level and among the others.

    Parameters
    ----------
    propensity : (n,) array
        Cross-fitted, as used.
    at_level : (n,) array
        Whether a row has the level.
    weights : (n,) array or None
        Sampling weights.
    bounds : (low, high), (low,) or ()
        Below and above which propensities are clipped, where they are.
    """
    mass = np.ones(len(propensity)) if weights is None else weights
    ends = _propensity_axis(propensity)
    with canvas(ax, (5.6, 3.4)) as ax:
        top = 0.0
        for chosen, color, text in ((at_level, COLORS[0], level), (~at_level, COLORS[1], "another level")):
            share = mass[chosen] / mass[chosen].sum()
            heights, edges = np.histogram(propensity[chosen], bins=bins, range=ends, weights=share)
            ax.stairs(heights, edges, fill=True, color=color, alpha=0.35)
            label = literal(f"rows with {text} ({int(chosen.sum()):,})")
            ax.stairs(heights, edges, color=color, linewidth=1.2, label=label)
            top = max(top, float(heights.max()))
        label = "clipped below " if len(bounds) == 1 else "clipped beyond "
        label += " and ".join(number(bound) for bound in bounds)
        for bound in bounds:
            if ends[0] <= bound <= ends[1]:
                ax.vlines(bound, 0.0, 1.03 * top, color=GREY, linestyle="--", linewidth=0.9, label=label)
                label = "_"
        ax.set_xlim(*ends)
        ax.set_ylim(0.0, ROOM * top)  # room for the legend
        ax.set_xlabel(literal(f"cross-fitted propensity P({level} | x)"))
        ax.set_ylabel("share of the rows of the group")
        ax.legend(loc="best")
    return ax


def draw_propensities(
    propensities: Float,
    at_level: Bool,
    weights: Float | None,
    bounds: Float | None,
    *,
    levels: Sequence[str],
    ax: Axes | None = None,
) -> Axes:
    """Draw quantiles of P(level | x) for each of several levels, among the rows at the level and among the others.

    Parameters
    ----------
    propensities, at_level : (n, m) arrays
        Cross-fitted propensities, and whether a row has the level.
    weights : (n,) array or None
        Sampling weights.
    bounds : (m,) array or None
        Below which each level's propensities are clipped, where they are.
    """
    mass = np.ones(len(propensities)) if weights is None else weights
    with canvas(ax, (6.8, levels_height(len(levels)))) as ax:
        for j in range(len(levels)):
            for chosen, color, at in ((at_level[:, j], COLORS[0], j - 0.16), (~at_level[:, j], COLORS[1], j + 0.16)):
                points = _quantiles(
                    propensities[chosen, j], mass[chosen], [q for low, high, _ in SPANS for q in (low, high)]
                )
                for (low, high), (*_, width) in zip(points.reshape(-1, 2), SPANS, strict=True):
                    ax.hlines(at, low, high, color=color, linewidth=width)
                ax.plot(_quantiles(propensities[chosen, j], mass[chosen], [0.5]), [at], "o", color=color, markersize=5)
        ax.plot([], [], "o-", color=COLORS[0], linewidth=3.2, markersize=5, label="rows at the level")
        ax.plot([], [], "o-", color=COLORS[1], linewidth=3.2, markersize=5, label="other rows")
        if bounds is not None:
            middle = np.arange(len(levels))
            ax.vlines(bounds, middle - 0.35, middle + 0.35, color=GREY, linewidth=1.2, label="clipped below")
        ax.set_yticks(range(len(levels)), [tick_name(level) for level in levels])
        ax.set_ylim(len(levels) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.set_xlim(0.0, None)
        ax.set_xlabel("cross-fitted propensity of the level: median, quartiles, 1 to 99 %")
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return ax


def levels_height(levels: int) -> float:
    """Return the height in inches that gives each level its room."""
    return 1.1 + 0.5 * levels


def draw_residuals(
    residuals: Float, weights: Float | None, *, treatment: str, note: str, bins: int = 50, ax: Axes | None = None
) -> Axes:
    """Draw the density of a continuous treatment's standardized residuals beside the normal one.

    Parameters
    ----------
    residuals : (n,) array
        (T - mean(x)) / sd(x), cross-fitted.
    weights : (n,) array or None
        Sampling weights.
    note : str
        On the conditional standard deviation, for the legend.
    """
    ends = histogram_range(residuals)
    mass = np.ones(len(residuals)) if weights is None else weights
    heights, edges = np.histogram(residuals, bins=bins, range=ends, weights=mass / mass.sum())
    density = heights / np.diff(edges)
    grid = np.linspace(*ends, 300)
    with canvas(ax, (5.6, 3.4)) as ax:
        ax.stairs(density, edges, fill=True, color=COLORS[5], alpha=0.6, label=literal(f"rows; {note}"))
        normal = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
        ax.plot(grid, normal, color=GREY, linestyle="--", linewidth=1.0, label="standard normal")
        ax.set_ylim(0.0, ROOM * max(density.max(), normal.max()))  # room for the legend
        ax.set_xlabel(literal(f"{treatment} given x: residual over its conditional sd"))
        ax.set_ylabel("density")
        ax.legend(loc="upper left")
    return ax


def draw_scale(
    scale: Float, weights: Float | None, floor: float, *, treatment: str, bins: int = 40, ax: Axes | None = None
) -> Axes:
    """Draw the distribution of a continuous treatment's conditional standard deviation, and its floor.

    Parameters
    ----------
    scale : (n,) array
        Cross-fitted sd of T given x, in units of T.
    weights : (n,) array or None
        Sampling weights.
    floor : float
        To which smaller ones were raised.
    """
    mass = np.ones(len(scale)) if weights is None else weights
    with canvas(ax, (5.6, 3.4)) as ax:
        heights, edges = np.histogram(scale, bins=bins, range=(0.0, 1.15 * scale.max()), weights=mass / mass.sum())
        ax.stairs(heights, edges, fill=True, color=COLORS[5], alpha=0.6)
        ax.axvline(floor, color=GREY, linestyle="--", linewidth=0.9, label=f"raised to {number(floor)} where below")
        ax.set_xlim(0.0, edges[-1])
        ax.set_ylim(0.0, 1.2 * heights.max())
        ax.set_xlabel(literal(f"conditional sd of {treatment} given x, in its units"))
        ax.set_ylabel("share of rows")
        ax.legend(loc="upper right")
    return ax


def _propensity_axis(propensity: Float) -> tuple[float, float]:
    """Return 0 and 1, or one of them and a nearer end where all propensities are small or large."""
    low, high = float(propensity.min()), float(propensity.max())
    if high < 0.5:
        return 0.0, min(1.1 * high, 1.0)
    return (max(1 - 1.1 * (1 - low), 0.0), 1.0) if low > 0.5 else (0.0, 1.0)


def _quantiles(values: Float, weights: Float, levels: list[float]) -> Float:
    """Return quantiles of the weighted distribution function."""
    return np.asarray(np.quantile(values, levels, weights=weights, method="inverted_cdf"))
