"""Estimates with their intervals, one or several models side by side; and estimated against predicted effects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.results.plots.style import COLORS, GREY, MARKERS, canvas, level_text, literal, tick_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

_LEVEL = re.compile(r"(?P<of>[^\[\]]+)\[(T\.)?(?P<level>.+)\]")
_CATEGORY = re.compile(r"C\(\s*(?P<variable>[^,()]+?)\s*(,.*)?\)")  # C(arm), C(arm, Treatment("none"))

SPREAD = 0.6  # share of a name's row over which the models are spread


def draw_coefficients(
    tables: Sequence[pd.DataFrame],
    labels: Sequence[str],
    *,
    alpha: float,
    xlabel: str,
    reference: float | None,
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates as points with bars for their intervals, names from top to bottom.

    Parameters
    ----------
    tables : sequence of DataFrame
        One per model, indexed by name, with columns estimate, low and high, and joint_low and joint_high where a
        uniform band is wanted, which is drawn as a thinner, longer bar.
    labels : sequence of str
        Of the models; a single one goes unnamed.
    alpha : float
        One minus the level of the intervals, for the legend.
    reference : float or None
        Where a dashed line stands.
    """
    names = list(dict.fromkeys(name for table in tables for name in table.index))
    k = len(tables)
    joint = any("joint_low" in table for table in tables)
    with canvas(ax, (6.8 if k > 1 or joint else 5.6, figure_height(len(names), k))) as ax:
        if reference is not None:
            ax.axvline(reference, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        for m, (table, label) in enumerate(zip(tables, labels, strict=True)):
            color, marker = COLORS[m % len(COLORS)], MARKERS[m % len(MARKERS)]
            at = np.array([names.index(name) for name in table.index]) + SPREAD * ((m + 0.5) / k - 0.5)
            if joint:
                ax.hlines(at, table["joint_low"], table["joint_high"], color=color, linewidth=0.9, label="_joint")
            ax.hlines(at, table["low"], table["high"], color=color, linewidth=2.2, label="_intervals")
            ax.plot(table["estimate"], at, marker, color=color, markersize=5, label=literal(label) if k > 1 else "_")
        shared, shown = split_names([str(name) for name in names])
        ax.set_yticks(range(len(names)), [tick_name(name) for name in shown])
        ax.set_ylabel(literal(shared))
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(literal(xlabel))
        if joint:
            ax.plot([], [], color=GREY, linewidth=2.2, label=f"{level_text(alpha)} pointwise")
            ax.plot([], [], color=GREY, linewidth=0.9, label=f"{level_text(alpha)} jointly")
        if k > 1 or joint:
            ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return ax


def figure_height(names: int, models: int) -> float:
    """Return the height in inches that gives each name of each model its room."""
    return max(0.9 + names * (0.26 + 0.12 * (models - 1)), 1.6)


def split_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return what names of levels share, for the axis, and the levels; "" and the names where they share nothing.

    Examples
    --------
    >>> split_names(["C(arm)[T.b]", "C(arm)[T.c]"])
    ('arm', ['b', 'c'])
    >>> split_names(["C(arm)[T.b]", "price"])
    ('', ['C(arm)[T.b]', 'price'])
    """
    parts = [_LEVEL.fullmatch(name) for name in names]
    found = [(part["of"], part["level"]) for part in parts if part is not None]
    if len(names) < 2 or len(found) < len(names) or len({of for of, _ in found}) > 1:
        return "", list(names)
    of = found[0][0]
    category = _CATEGORY.fullmatch(of)
    return category["variable"] if category else of, [level for _, level in found]


def draw_calibration(
    predicted: Float, table: pd.DataFrame, *, alpha: float, effect: str, ax: Axes | None = None
) -> Axes:
    """Draw the estimated effect of each group of rows against the mean of its predictions, and the line of equality.

    Parameters
    ----------
    predicted : (g,) array
        Mean cross-fitted effect of each group.
    table : DataFrame
        g rows with columns estimate, low and high.
    effect : str
        What is predicted, with its units.
    """
    with canvas(ax, (4.6, 4.0)) as ax:
        ends = np.array([min(predicted.min(), table["low"].min()), max(predicted.max(), table["high"].max())])
        ends += 0.04 * np.ptp(ends) * np.array([-1.0, 1.0])
        ax.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--", label="estimate = prediction")
        ax.vlines(predicted, table["low"], table["high"], color=COLORS[0], linewidth=2.2, label="_intervals")
        ax.plot(
            predicted, table["estimate"], "o", color=COLORS[0], label=f"groups of rows, {level_text(alpha)} intervals"
        )
        ax.set_xlabel(literal(f"mean cross-fitted prediction in the group\n{effect}"))
        ax.set_ylabel("estimated average in the group")
        ax.set_ylim(*ends)
        ax.legend(loc="upper left")
    return ax
