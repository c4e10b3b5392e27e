"""The embedding tutorial in one go: its designs are fitted, and what it prints stands beside the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from deepdml import simulate

if TYPE_CHECKING:
    from deepdml.results import Results

_SHOWN = ["mean", "sd", "5%", "25%", "50%", "75%", "95%", "share_positive", "histogram"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One design of the gallery.

    Parameters
    ----------
    title : str
    design : str
        Function of `deepdml.simulate`.
    question : str
    unit : str
        Of a coefficient.
    """

    title: str
    design: str
    question: str
    unit: str


PIECES = (
    Piece("Wages", "wages", "What is experience worth, and in which jobs?", "log points"),
    Piece("Purchases", "purchases", "Do discounts sell, and which products respond most?", "log-odds"),
    Piece("Citations", "citations", "Does exposure raise citations, and of which papers?", "log points"),
    Piece(
        "Wages, the tutorial's moments",
        "tutorial_wages",
        "The same where returns differ little between jobs.",
        "log points a year",
    ),
    Piece(
        "Citations, the tutorial's moments",
        "tutorial_citations",
        "Does open access raise citations, and of which papers?",
        "log points",
    ),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One piece after its fit.

    Parameters
    ----------
    text : str
        What the tutorial prints.
    figures : dict
        One row of the table that ends the gallery.
    """

    text: str
    figures: dict[str, float | str]


def show(piece: Piece, *, rows: int | None, learner: Literal["auto", "net"], seed: int, progress: bool | None) -> Shown:
    """Draw a design, fit it, and set what comes out beside the truth.

    Parameters
    ----------
    piece : Piece
    rows : int or None
        Rows to draw; None draws as many as the design says.
    learner : {"auto", "net"}
        As for `deepdml.fit`.
    seed : int
        Of the draw and of the fit.
    progress : bool or None
        As for `deepdml.fit`.
    """
    from deepdml.model import fit

    draw = getattr(simulate, piece.design)(seed=seed, **({} if rows is None else {"n": rows}))
    results = fit(draw.formula, draw.data, draw.family, learner=learner, seed=seed, progress=progress)
    name = list(draw.truth)[1]
    low, high = results.conf_int().loc[name]
    table = results.hte(draw.theta).loc[name]
    figures: dict[str, float | str] = {
        "estimate": results.params[name],
        "se": results.bse[name],
        "[0.025": low,
        "0.975]": high,
        "truth": draw.truth[name],
        "covered": "yes" if low <= draw.truth[name] <= high else "no",
        "correlation": table.loc["fit", "correlation"],
        "sd": table.loc["fit", "sd"],
        "true sd": table.loc["truth", "sd"],
    }
    return Shown("\n".join(_lines(piece, draw, results, name, table)), figures)


def closing(shown: dict[str, Shown]) -> str:
    """Return the table that ends the gallery: one line per piece, our figures beside the truth."""
    table = pd.DataFrame({title: each.figures for title, each in shown.items()}).T
    return str(table.to_string(float_format=_number))


def _lines(piece: Piece, draw: simulate.Simulated, results: Results, name: str, table: pd.DataFrame) -> Iterator[str]:
    effect, (low, high) = results.params[name], results.conf_int().loc[name]
    yield f"{piece.question}\n{len(draw.data):,} rows, {draw.formula}, {draw.family}; coefficients in {piece.unit}\n"
    yield f"{results.summary().as_text()}\n"
    yield f"average effect      {effect:.4f}, 95 % interval {low:.4f} to {high:.4f}; truth {draw.truth[name]:.4f}"
    if draw.family == "poisson":
        ratio, bottom, top, true = np.exp([effect, low, high, draw.truth[name]])
        yield f"multiplier exp(mu)  {ratio:.3f}, 95 % interval {bottom:.3f} to {top:.3f}; truth {true:.3f}"
    if draw.family == "logit":
        above = (results.theta[name] > results.theta[name].median()).to_numpy()
        means = [draw.theta[rows, 1].mean() for rows in (above, ~above)]
        yield f"high responders     true response {means[0]:.3f}, of the others {means[1]:.3f}"
    yield f"correlation         {table.loc['fit', 'correlation']:.3f} of {name}(x) with the truth\n"
    yield table[_SHOWN].to_string(float_format=_number)


def _number(value: float) -> str:
    return f"{value:.4f}"
