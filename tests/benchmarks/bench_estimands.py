"""Do the intervals of every estimand hold? `make estimands` goes on with the study, into docs/estimands-coverage.md.

Each draw is fitted once and serves all estimands. Truths are means over a population of two million rows, from the true
theta and formulas written out here, without the package's estimands.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # the parallelism is over draws; workers inherit this before they import numpy
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from bench_speed import ROOT, machine, table
from joblib import Parallel, delayed
from scipy import special, stats

import deepdml as dd
from deepdml import simulate
from deepdml.errors import DeepDMLWarning
from deepdml.simulate.outcomes import _LAWS as LAWS
from deepdml.simulate.outcomes import _rows as rows_of_outcome

ROWS = ROOT / "docs" / "validation" / "estimands.csv"
PAGE = ROOT / "docs" / "estimands-coverage.md"
POPULATION, CHUNK = 2_000_000, 100_000
N = 4_000
Float = np.ndarray


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the population: treatment, true theta (n, d), covariates, and the mean of y at any linear predictor."""

    t: Float
    theta: Float
    x: Float
    mean: Callable[[Float], Float]

    @property
    def alpha(self) -> Float:
        """The intercept."""
        return self.theta[:, 0]

    @property
    def beta(self) -> Float:
        """The coefficient of the treatment, or of the first of several."""
        return self.theta[:, 1]

    @property
    def last(self) -> Float:
        """The log shape of a duration, the coefficient of the second treatment."""
        return self.theta[:, -1]

    def at(self, t: Float | float) -> Float:
        """Return E[y | t, x] with every row's treatment set to t."""
        return self.mean(self.alpha + self.beta * t)

    def law(self, t: Float | float) -> Any:
        """Return the law of a duration with every row's treatment set to t."""
        return stats.weibull_min(np.exp(self.last), scale=np.exp(self.alpha + self.beta * t))


Means = Callable[[Rows], tuple[Float, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """One estimand.

    Parameters
    ----------
    ask : callable
        Takes Results, returns Results.
    means : callable
        What is averaged over the population.
    combine : callable
        Takes the averages, returns the truth.
    place : int
        Which of the estimates is meant.
    """

    ask: Callable[[Any], Any]
    means: Means
    combine: Callable[..., float] = lambda mean: mean
    place: int = -1


def _logit_slope(rows: Rows) -> Float:
    share = rows.at(rows.t)
    return share * (1 - share) * rows.beta


def _odds(one: float, zero: float) -> float:
    return one / (1 - one) / (zero / (1 - zero))


BINARY: dict[str, Case] = {
    "average coefficient": Case(lambda r: r.estimate(dd.AverageCoefficient()), lambda p: (p.beta,)),
    "average marginal effect": Case(lambda r: r.get_margeff(), lambda p: (_logit_slope(p),)),
    "average marginal effect, dummy": Case(lambda r: r.get_margeff(dummy=True), lambda p: (p.at(1) - p.at(0),)),
    "average marginal effect at t = 0": Case(
        lambda r: r.get_margeff("zero"), lambda p: (p.at(0) * (1 - p.at(0)) * p.beta,)
    ),
    "semi-elasticity": Case(
        lambda r: r.estimate(dd.Elasticity("t", method="eydx")), lambda p: (_logit_slope(p) / p.at(p.t),)
    ),
    "contrast": Case(lambda r: r.estimate(dd.Contrast("t", 1, 0)), lambda p: (p.at(1) - p.at(0),)),
    "contrast, ratio": Case(
        lambda r: r.estimate(dd.Contrast("t", 1, 0, "ratio")), lambda p: (p.at(1), p.at(0)), lambda a, b: a / b
    ),
    "contrast, log ratio": Case(
        lambda r: r.estimate(dd.Contrast("t", 1, 0, "log ratio")),
        lambda p: (p.at(1), p.at(0)),
        lambda a, b: float(np.log(a / b)),
    ),
    "contrast, odds ratio": Case(
        lambda r: r.estimate(dd.Contrast("t", 1, 0, "odds ratio")), lambda p: (p.at(1), p.at(0)), _odds
    ),
    "contrast, treated": Case(
        lambda r: r.estimate(dd.Contrast("t", 1, 0, subset="treated")),
        lambda p: (p.t * (p.at(1) - p.at(0)), p.t),
        lambda a, b: a / b,
    ),
    "contrast, untreated": Case(
        lambda r: r.estimate(dd.Contrast("t", 1, 0, subset="untreated")),
        lambda p: ((1 - p.t) * (p.at(1) - p.at(0)), 1 - p.t),
        lambda a, b: a / b,
    ),
    "contrast, x_0 > 0": Case(
        lambda r: r.estimate(dd.Contrast("t", 1, 0, subset="x_0 > 0")),
        lambda p: ((p.x[:, 0] > 0) * (p.at(1) - p.at(0)), p.x[:, 0] > 0),
        lambda a, b: a / b,
    ),
    "odds ratio of coefficients": Case(
        lambda r: r.estimate(dd.OddsRatio("t")), lambda p: (p.beta,), lambda b: float(np.exp(b))
    ),
    "choice probability at t = 1": Case(
        lambda r: r.estimate(dd.ChoiceProbability(1, column="t", value=1)), lambda p: (p.at(1),)
    ),
    "tail probability": Case(lambda r: r.estimate(dd.TailProbability(0)), lambda p: (p.at(p.t),)),
    "conditional variance": Case(
        lambda r: r.estimate(dd.ConditionalVariance()), lambda p: (p.at(p.t) * (1 - p.at(p.t)),)
    ),
    "function of theta": Case(
        lambda r: r.estimate(lambda x, t, theta: torch.sigmoid(theta[..., 0] + theta[..., 1])), lambda p: (p.at(1),)
    ),
    "gate, x_0 > 0": Case(
        lambda r: r.gate(_groups(r)), lambda p: ((p.x[:, 0] > 0) * p.beta, p.x[:, 0] > 0), lambda a, b: a / b
    ),
    "blp, slope on x_0": Case(
        lambda r: r.blp("x_0"), lambda p: (p.x[:, 0] * p.beta, p.x[:, 0] ** 2), lambda a, b: a / b
    ),
}

CONTINUOUS: dict[str, Case] = {
    "average coefficient, continuous T": Case(lambda r: r.estimate(dd.AverageCoefficient()), lambda p: (p.beta,)),
    "average marginal effect, continuous T": Case(lambda r: r.get_margeff(), lambda p: (p.beta * p.at(p.t),)),
    "average marginal effect at t = .5": Case(
        lambda r: r.get_margeff(atexog={"t": 0.5}), lambda p: (p.beta * p.at(0.5),)
    ),
    "elasticity": Case(lambda r: r.estimate(dd.Elasticity("t")), lambda p: (p.beta * p.t,)),
    "dose response at .5": Case(lambda r: r.estimate(dd.DoseResponse("t", [0.5])), lambda p: (p.at(0.5),)),
    "contrast, .5 against -.5": Case(
        lambda r: r.estimate(dd.Contrast("t", 0.5, -0.5)), lambda p: (p.at(0.5) - p.at(-0.5),)
    ),
    "consumer welfare": Case(
        lambda r: r.estimate(dd.ConsumerWelfare("t", 1.0, 0.0)), lambda p: (-(p.at(1) - p.at(0)) / p.beta,)
    ),
    "profit at 1": Case(lambda r: r.estimate(dd.Profit("t", [1.0], cost=0.4)), lambda p: (0.6 * p.at(1),)),
    "incidence rate ratio": Case(
        lambda r: r.estimate(dd.IncidenceRateRatio("t")), lambda p: (p.beta,), lambda b: float(np.exp(b))
    ),
    "tail probability of counts": Case(
        lambda r: r.estimate(dd.TailProbability(2)), lambda p: (special.gammainc(3.0, p.at(p.t)),)
    ),
}
DURATIONS: dict[str, Case] = {
    "median of durations": Case(lambda r: r.estimate(dd.ConditionalQuantile(0.5)), lambda p: (p.law(p.t).median(),)),
    "quantile .9, 1 against 0": Case(
        lambda r: r.estimate(dd.ConditionalQuantile(0.9, column="t", value=1, against=0)),
        lambda p: (p.law(1).ppf(0.9) - p.law(0).ppf(0.9),),
    ),
    "tail probability, 1 against 0": Case(
        lambda r: r.estimate(dd.TailProbability(2, column="t", value=1, against=0)),
        lambda p: (p.law(1).sf(2) - p.law(0).sf(2),),
    ),
    "variance of durations": Case(lambda r: r.estimate(dd.ConditionalVariance()), lambda p: (p.law(p.t).var(),)),
}
PRICES = np.linspace(-2.0, 2.0, 81)


def _optimum(*demand: float) -> float:
    """Return the price of the largest profit, by a parabola through the best of a fine grid and its neighbours."""
    profit = (PRICES + 3.0) * np.array(demand)
    best = int(profit.argmax())
    below, top, above = profit[best - 1 : best + 2]
    return float(PRICES[best] + 0.5 * (PRICES[1] - PRICES[0]) * (below - above) / (below - 2 * top + above))


DEMAND: dict[str, Case] = {
    "optimal price": Case(
        lambda r: r.estimate(dd.OptimalPrice("t", -2.0, 2.0, cost=-3.0)),
        lambda p: tuple(p.at(price) for price in PRICES),
        _optimum,
        place=0,
    ),
    "profit at the optimal price": Case(
        lambda r: r.estimate(dd.OptimalPrice("t", -2.0, 2.0, cost=-3.0)),
        lambda p: tuple(p.at(price) for price in PRICES),
        lambda *demand: float(np.max((PRICES + 3.0) * np.array(demand))),
    ),
}
TWO: dict[str, Case] = {
    "average coefficient, of two": Case(lambda r: r.estimate(dd.AverageCoefficient()), lambda p: (p.last,)),
    "willingness to pay": Case(
        lambda r: r.estimate(dd.WillingnessToPay("ads", "price")), lambda p: (p.last, p.beta), lambda a, b: -a / b
    ),
}


def demand(n: int, seed: int, family: str) -> simulate.Simulated:
    """Return a draw of `simulate.smooth` whose treatment is a price: the negative of the dose."""
    drawn = simulate.smooth(n=n, seed=seed, family=family)
    return replace(drawn, data=drawn.data.assign(t=-drawn.data["t"]), theta=drawn.theta * [1.0, -1.0])


DESIGNS: dict[str, tuple[Callable[..., simulate.Simulated], str, dict[str, Case]]] = {
    "binary": (simulate.binary, "logit", BINARY),
    "smooth": (simulate.smooth, "poisson", CONTINUOUS),
    "outcome": (simulate.outcome, "weibull", DURATIONS),
    "demand": (demand, "logit", DEMAND),
    "two_treatments": (simulate.two_treatments, "logit", TWO),
}
MEANS: dict[str, Callable[[Float], Float]] = {"logit": special.expit, "poisson": np.exp}


def _groups(results: Any) -> Any:
    """Return the group of each row, x_0 > 0 being the last."""
    return np.where(results.model.user_data["x_0"] > 0, "b", "a")


def population(name: str) -> Iterator[Rows]:
    """Yield the population of a design in chunks."""
    design, family, _ = DESIGNS[name]
    for k in range(POPULATION // CHUNK):
        if family == "weibull":  # without the oracle, whose quadrature takes minutes at this size
            rows = rows_of_outcome(np.random.default_rng(1_000_000 + k), CHUNK, LAWS[family])
            yield Rows(rows.arms.rows[:, 1], rows.theta, rows.x, np.exp)
            continue
        if name == "two_treatments":  # nor here; its coefficients as the docstring has them
            x = np.random.default_rng(1_000_000 + k).standard_normal((CHUNK, 10))
            theta = np.column_stack([0 * x[:, 0], 0.4 * np.tanh(x[:, 1]) - 0.7, 0.3 * np.cos(x[:, 0]) + 0.4])
            yield Rows(x[:, 0], theta, x, special.expit)
            continue
        drawn = design(n=CHUNK, seed=1_000_000 + k, family=family)
        x = drawn.data.filter(like="x_").to_numpy(float)
        yield Rows(drawn.data["t"].to_numpy(float), drawn.theta, x, MEANS[family])


def truths(name: str) -> dict[str, float]:
    """Return the truth of every estimand of a design."""
    cases = DESIGNS[name][2]
    sums: dict[str, list[np.ndarray]] = {label: [] for label in cases}
    for rows in population(name):
        for label, case in cases.items():
            sums[label].append(np.array([np.mean(values) for values in case.means(rows)]))
    return {label: float(case.combine(*np.mean(sums[label], axis=0))) for label, case in cases.items()}


def measure(name: str, draw: int) -> list[dict[str, Any]]:
    """Fit one draw and return a row for every estimand."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DeepDMLWarning)
    design, family, cases = DESIGNS[name]
    drawn = design(n=N, seed=draw, family=family)
    results = dd.fit(drawn.formula, drawn.data, family, seed=draw, progress=False)
    found = []
    for label, case in cases.items():
        asked = case.ask(results)
        estimate, se = asked.params.iloc[case.place], asked.bse.iloc[case.place]
        found.append({"estimand": label, "draw": draw, "estimate": estimate, "se": se})
    return found


def page(rows: pd.DataFrame, truth: dict[str, float]) -> str:
    """Return the page: a line for every estimand."""
    body = []
    for label, own in rows.groupby("estimand", sort=False):
        error, m = own["estimate"] - truth[str(label)], len(own)
        inside = (error.abs() <= 1.959964 * own["se"]).mean()
        body.append(
            [
                label,
                m,
                truth[str(label)],
                (error / own["se"]).mean(),
                own["se"].mean() / own["estimate"].std(),
                inside,
                (0.95 * 0.05 / m) ** 0.5,
            ]
        )
    head = ["estimand", "draws", "truth", "bias / se", "se / sd", "coverage", "its error"]
    return (
        "# Coverage of every estimand\n\n"
        "Measured by `make estimands`: default fits of `simulate.binary(family='logit')`, for a continuous treatment\n"
        "of `simulate.smooth(family='poisson')`, for a law with a shape of `simulate.outcome(family='weibull')`, for\n"
        "prices of `simulate.smooth(family='logit')` with the dose's negative, and for two treatments of\n"
        f"`simulate.two_treatments(family='logit')`, n = {N:,}; each draw is fitted once.\n"
        f"Truths are means over {POPULATION:,} rows.\n"
        "`bias / se` is the mean of z, whose own error is one over the root of the draws;\n"
        "coverage is of 95 % intervals, its error that of a method that covers 95 %.\n"
        f"{machine('one for each fit')}\n\n{table(body, head, '.3f')}\n"
    )


@click.command()
@click.option("--draws", default=100, show_default=True, help="Draws of each design.")
@click.option("--minutes", type=float, default=float("inf"), help="Start no fit after so many minutes.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Fits at once.")
def main(draws: int, minutes: float, jobs: int) -> None:
    """Go on with the study and write docs/estimands-coverage.md; git knows which rows older code gave."""
    start = time.monotonic()
    stored = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["estimand", "draw", "estimate", "se"])
    done = {
        (name, d)
        for name, (_, _, cases) in DESIGNS.items()
        for d in set.intersection(*(_draws(stored, label) for label in cases))
    }
    tasks = [(name, d) for d in range(draws) for name in DESIGNS if (name, d) not in done]
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
    wanted = (delayed(measure)(*task) for task in tasks if time.monotonic() - start < 60 * minutes)
    for found in pool(wanted):
        stored = pd.concat([stored, pd.DataFrame(found)]) if len(stored) else pd.DataFrame(found)
        stored = stored.drop_duplicates(["estimand", "draw"], keep="last")
        stored.to_csv(ROWS, index=False)
        click.echo(f"{time.strftime('%H:%M:%S')} {found[0]['estimand']}: draw {found[0]['draw']}", err=True)
    known = {label: value for name in DESIGNS for label, value in truths(name).items()}
    PAGE.write_text(page(stored, known), encoding="utf-8")
    click.echo(f"written: {PAGE.relative_to(ROOT)}", err=True)


def _draws(stored: pd.DataFrame, label: str) -> set[int]:
    return set(stored.loc[stored["estimand"] == label, "draw"])


if __name__ == "__main__":
    main()
