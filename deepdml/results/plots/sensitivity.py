"""Contours of the bound under an omitted confounder, over its strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepdml.errors import OptionError
from deepdml.results.plots.style import COLORS, canvas, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepdml.results.sensitivity import Sensitivity

GRID = 101
LEAST = 0.05  # of the axes
MOST = 0.99


def draw_sensitivity(
    found: Sensitivity, j: int, *, ax: Axes | None = None, confidence: bool = False, limit: float | None = None
) -> Axes:
    """Draw the bound of estimate j on the null's side, the contour at the null, and benchmarks as points.

    Parameters
    ----------
    found : Sensitivity
    j : int
        Position of the estimate.
    ax : Axes, optional
        A new figure's without it.
    confidence : bool
        Whether the confidence bound is drawn.
    limit : float, optional
        Largest strength on both axes.

    Raises
    ------
    OptionError
        For a limit outside (0, 1).
    MissingLibraryError
        Without matplotlib.
    """
    name = found.labels[j]
    points = found.benchmarks.xs(name, level="estimate") if len(found.benchmarks) else found.benchmarks
    limit = _limit(found, j, limit)
    with canvas(ax, (4.8, 4.2)) as ax:
        strength = np.linspace(0.0, limit, GRID)
        above = found.elements.params[j] >= found.null
        line = (0 if above else 3) if confidence else (1 if above else 2)
        values = found.bounds(strength[:, None], strength[None])[line, j]
        lines = ax.contour(strength, strength, values, levels=8, colors="0.45", linewidths=0.8)
        ax.clabel(lines, fmt="%.3g", fontsize=7)
        if values.min() < found.null < values.max():
            # over the other contours, so that it is seen where one of them lies on it
            at_null = ax.contour(strength, strength, values, levels=[found.null], colors=COLORS[1], linewidths=1.6)
            ax.clabel(at_null, fmt="%.3g", fontsize=7)
        ax.plot(0.0, 0.0, "o", color=COLORS[0], clip_on=False)
        ax.annotate(f"{values[0, 0]:.3g}", (0.0, 0.0), (5, 5), textcoords="offset points", fontsize=7, color=COLORS[0])
        for label, row in points.iterrows():
            _draw_benchmark(ax, str(label), float(row["cf_d"]), float(row["cf_y"]), limit)
        ax.set_xlim(0.0, limit)
        ax.set_ylim(0.0, limit)
        side = "lower" if above else "upper"
        kind = f"{side} {1 - found.alpha:.4g} confidence bound" if confidence else f"{side} bound"
        ax.set_title(literal(f"{name}: {kind}"))
        ax.set_xlabel("cf_d: share of the variation of alpha from the confounder")
        ax.set_ylabel("cf_y: share of the outcome's residual variance")
    return ax


def _draw_benchmark(ax: Axes, label: str, cf_d: float, cf_y: float, limit: float) -> None:
    """Draw a benchmark; one beyond the axes as an empty mark on their edge, with the strengths that lie outside."""
    outside = {name: value for name, value in (("cf_d", cf_d), ("cf_y", cf_y)) if value > limit}
    at = (min(cf_d, limit), min(cf_y, limit))
    ax.plot(*at, "D", color="black", markersize=4, markerfacecolor="white" if outside else "black", clip_on=False)
    text = literal(label) + (
        f" ({', '.join(f'{name} {value:.2g}' for name, value in outside.items())})" * bool(outside)
    )
    right, top = (part > 0.7 * limit for part in at)
    ax.annotate(
        text,
        at,
        (-5 if right else 5, -5 if top else 5),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top" if top else "bottom",
    )


def _limit(found: Sensitivity, j: int, limit: float | None) -> float:
    """Return the length of the axes: as given, or a little beyond the robustness value and benchmarks that fit."""
    if limit is not None:
        if not 0 < limit < 1:
            raise OptionError(f"limit={limit!r}; a strength is above 0 and below 1.")
        return float(limit)
    reach = float(found.robustness_values["rv"].iloc[j])
    if len(found.benchmarks):
        ours = found.benchmarks.xs(found.labels[j], level="estimate")
        strengths = ours[["cf_y", "cf_d"]].to_numpy()
        reach = max(reach, float(strengths[strengths < MOST].max(initial=0.0)))
    return min(MOST, max(LEAST, 1.3 * reach))
