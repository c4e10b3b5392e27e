"""Mean outcomes by dose, with pointwise intervals and a band for the whole curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from deepdml.results.plots.style import COLORS, canvas, level_text, literal, tick_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_dose(
    doses: Sequence[Any],
    table: pd.DataFrame,
    *,
    alpha: float,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw a dose-response curve, or points with bars where doses are categories or few.

    Parameters
    ----------
    doses : sequence
        q numbers, or levels of a categorical variable.
    table : DataFrame
        q rows with columns estimate, low, high, joint_low and joint_high.
    """
    numeric = all(isinstance(dose, int | float) for dose in doses)
    pointwise, joint = f"{level_text(alpha)} pointwise", f"{level_text(alpha)} jointly"
    with canvas(ax, (5.6, 3.6)) as ax:
        if numeric and len(doses) > 5:
            order = sorted(range(len(doses)), key=lambda j: doses[j])
            x, rows = [doses[j] for j in order], table.iloc[order]
            ax.fill_between(
                x,
                rows["joint_low"],
                rows["joint_high"],
                color=COLORS[0],
                alpha=0.15,
                lw=0,
                label=f"{level_text(alpha)} for the whole curve",
            )
            ax.fill_between(x, rows["low"], rows["high"], color=COLORS[0], alpha=0.35, lw=0, label=pointwise)
            ax.plot(x, rows["estimate"], color=COLORS[0], label="estimate")
        else:
            x = list(doses) if numeric else list(range(len(doses)))
            ax.vlines(x, table["joint_low"], table["joint_high"], color=COLORS[0], linewidth=0.9, label=joint)
            ax.vlines(x, table["low"], table["high"], color=COLORS[0], linewidth=2.4, label=pointwise)
            ax.plot(x, table["estimate"], "o", color=COLORS[0], label="estimate")
            ax.set_xticks(x, [tick_name(f"{dose:g}" if numeric else str(dose)) for dose in doses])
            ax.margins(x=0.15)
        ax.set_xlabel(literal(xlabel))
        ax.set_ylabel(literal(ylabel))
        ax.legend(loc="best")
    return ax
