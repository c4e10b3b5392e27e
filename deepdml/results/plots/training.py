"""Training curves: the held-out loss of the nets at each look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepdml.results.plots.style import COLORS, GREY, LINES, canvas, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_training(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the change of the held-out loss since the start, a colour per nuisance and a line style per candidate.

    Parameters
    ----------
    history : DataFrame
        Columns repetition, nuisance, candidate, copy, step and loss, in the order of the steps. Losses of nuisances
        differ in level, which the change takes out; a dot marks each curve's least value.
    """
    nuisances, candidates = (list(dict.fromkeys(history[name])) for name in ("nuisance", "candidate"))
    shown: set[tuple[str, str]] = set()
    with canvas(ax, (6.8, 3.6)) as ax:
        ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        keys = ["nuisance", "candidate", "repetition", "copy"]
        for (nuisance, candidate, *_), curve in history.groupby(keys, sort=False):
            change = (curve["loss"] - curve["loss"].iloc[0]).to_numpy()
            steps = curve["step"].to_numpy()
            color = COLORS[nuisances.index(nuisance) % len(COLORS)]
            label = "_" if (nuisance, candidate) in shown else literal(f"{nuisance}, {candidate}")
            shown.add((nuisance, candidate))
            line = LINES[candidates.index(candidate) % len(LINES)]
            ax.plot(steps, change, color=color, linestyle=line, linewidth=1.2, label=label)
            least = change.argmin()
            ax.plot(steps[least], change[least], "o", color=color, markersize=4, label="_least")
        ax.set_xlabel("step")
        ax.set_ylabel("held-out loss per row, standardized:\nchange from the linear start")
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return ax
