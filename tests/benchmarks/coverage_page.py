"""From the rows of the coverage study to the figures of a design, its verdicts and docs/validation.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from coverage_studies import STUDIES
from scipy.stats import chi2, norm
from tabulate import tabulate

CRITICAL = float(norm.ppf(0.975))
COVERAGE = (0.93, 0.97)
JOINT = (0.92, 0.98)
SPREAD = (0.93, 1.07)  # se / sd
BIAS, SHARP, PRECISION = 0.25, 0.15, 1.1
SIGNAL = (-np.inf, 1.0, 2.0, 3.0, 4.0, 6.0, np.inf)  # classes of the diagnostics' statistic
ENOUGH = 20  # replications before a design is judged
SLACK = 2.0  # Monte Carlo errors that a figure may lie outside its band


@dataclass(frozen=True, slots=True)
class Figures:
    """What the replications of one coefficient of one design say. Errors are Monte Carlo standard errors.

    Parameters
    ----------
    n, d, replications, refused : int
        Rows of a draw, coefficients of the design, draws, and draws that the fit refused (a miss in coverage, absent
        from the other figures).
    bias, sd, se, length : float
        In the units of the coefficient: mean error, sd of the estimates, mean standard error, mean interval length.
    bias_se, bias_error, sharp, sharp_error : float
        Bias over the mean standard error; mean of (estimate - mean oracle psi) / se.
    se_sd, se_sd_error : float
        Mean standard error over the sd of the estimates.
    se_oracle : float
        Mean standard error over that of the oracle.
    coverage, coverage_error : float
        Share of 95 % intervals that hold the population value.
    bound : float
        Interval length over that of an interval at the efficiency bound; NaN where the oracle is not efficient.
    rmse, correlation, spread, seconds : float
        Means of the RMSE of theta(x), of its correlation with the truth and of its sd over the truth's; median seconds
        of a fit.
    warned : float
        Share of the fits that warned.
    """

    design: str
    coefficient: str
    n: int
    d: int
    replications: int
    refused: int
    bias: float
    sd: float
    se: float
    length: float
    bias_se: float
    bias_error: float
    sharp: float
    sharp_error: float
    se_sd: float
    se_sd_error: float
    se_oracle: float
    coverage: float
    coverage_error: float
    bound: float
    rmse: float
    correlation: float
    spread: float
    seconds: float
    warned: float


@dataclass(frozen=True, slots=True)
class Joint:
    """Joint coverage of all coefficients of a design, by Wald, with its Monte Carlo error."""

    design: str
    d: int
    replications: int
    coverage: float
    coverage_error: float


def figures(rows: pd.DataFrame) -> Figures:
    """Return the figures of one coefficient of one design from its rows."""
    fitted = rows[rows["estimate"].notna()]
    m = len(fitted)
    error = fitted["estimate"] - fitted["truth"]
    sharp = (fitted["estimate"] - fitted["oracle"]) / fitted["se"]
    bias, sd, se = error.mean(), error.std(), fitted["se"].mean()  # NaN where there are too few
    covered = float((error.abs() <= CRITICAL * fitted["se"]).sum()) / len(rows)
    return Figures(
        design=str(rows["design"].iloc[0]),
        coefficient=str(rows["coefficient"].iloc[0]),
        n=int(rows["n"].iloc[0]),
        d=int(rows["d"].iloc[0]),
        replications=len(rows),
        refused=len(rows) - m,
        bias=bias,
        sd=sd,
        se=se,
        length=2 * CRITICAL * se,
        bias_se=bias / se,
        bias_error=sd / se / np.sqrt(max(m, 1)),
        sharp=sharp.mean(),
        sharp_error=sharp.std() / np.sqrt(max(m, 1)),
        se_sd=ratio(se, sd),
        se_sd_error=ratio(se, sd) / np.sqrt(2 * max(m - 1, 1)),
        se_oracle=se / fitted["oracle_se"].mean(),
        coverage=covered,
        coverage_error=share_error(covered, len(rows)),
        bound=se / np.sqrt((fitted["oracle_se"] ** 2).mean()) if fitted["efficient"].all() else np.nan,
        rmse=fitted["rmse"].mean(),
        correlation=fitted["correlation"].mean(),
        spread=fitted["spread"].mean(),
        seconds=rows["seconds"].median(),
        warned=(rows["warned"] > 0).mean(),
    )


def ratio(value: float, by: float) -> float:
    """Return a ratio, NaN where it is not defined: draws that agree to the bit have no spread."""
    return value / by if by > 0 else np.nan


def joint(rows: pd.DataFrame) -> Joint:
    """Return the joint coverage of a design from its rows."""
    first = rows.groupby("replication").first()
    d = int(first["d"].iloc[0])
    covered = float((first["wald"] <= chi2.ppf(0.95, d)).mean())  # a refused draw is a miss
    return Joint(str(rows["design"].iloc[0]), d, len(first), covered, share_error(covered, len(first)))


def share_error(share: float, m: int) -> float:
    """Return the Monte Carlo error of a share, with one hit and one miss added so that it is never zero."""
    smoothed = (share * m + 1) / (m + 2)
    return float(np.sqrt(smoothed * (1 - smoothed) / m))


def by_coefficient(rows: pd.DataFrame) -> list[Figures]:
    """Return the figures of every coefficient, designs in the order of the table of studies."""
    order = {name: place for place, name in enumerate(STUDIES)}
    groups = [group for _, group in rows.groupby(["design", "coefficient"], sort=False)]
    found = [figures(group) for group in groups]
    return sorted(found, key=lambda f: (order.get(f.design, len(order)), f.coefficient != "Intercept"))


def within(value: float, band: tuple[float, float], error: float) -> bool:
    """Say whether a figure lies in its band, give or take `SLACK` Monte Carlo errors."""
    return bool(band[0] - SLACK * error <= value <= band[1] + SLACK * error)


def shortfalls(f: Figures) -> list[str]:
    """Return what misses its goal, with the figure; nothing where all goals are reached."""
    misses = []
    if not within(f.coverage, COVERAGE, f.coverage_error):
        misses.append(f"coverage {f.coverage:.3f} ({f.coverage_error:.3f})")
    if not within(f.bias_se, (-BIAS, BIAS), f.bias_error):
        misses.append(f"bias/se {f.bias_se:+.2f} ({f.bias_error:.2f})")
    if not abs(f.sharp) <= SHARP:
        misses.append(f"sharp bias {f.sharp:+.2f} ({f.sharp_error:.2f})")
    if not within(f.se_sd, SPREAD, f.se_sd_error):
        misses.append(f"se/sd {f.se_sd:.2f} ({f.se_sd_error:.2f})")
    if not f.se_oracle <= PRECISION:
        misses.append(f"se/oracle se {f.se_oracle:.2f}")
    if f.refused:
        misses.append(f"{f.refused} draws refused")
    return misses


def table(rows: list[list[object]], head: Sequence[str], floats: Sequence[str] = ()) -> str:
    """Return a Markdown table; missing figures stay empty."""
    kept = [[None if isinstance(cell, float) and np.isnan(cell) else cell for cell in row] for row in rows]
    return str(tabulate(kept, head, tablefmt="github", floatfmt=tuple(floats) or "g", missingval=""))


def mark(reached: bool) -> str:
    """Return what stands in a column of goals."""
    return "reached" if reached else "missed"


def label(f: Figures) -> str:
    """Name a design, and its coefficient where there are several treatments."""
    return f.design if f.d <= 2 else f"{f.design}: {f.coefficient}"


def designs_table(rows: pd.DataFrame) -> str:
    """Say of each design what it is and from which commits its rows come."""
    lines: list[list[object]] = []
    for name, study in STUDIES.items():
        own = rows[rows["design"] == name]
        commits = ", ".join(own["commit"].drop_duplicates())
        lines.append([name, f"`{study.call}`", study.purpose, study.n, own["replication"].nunique(), commits or "-"])
    return table(lines, ["design", "`deepdml.simulate`", "what it is for", "n", "replications", "commits"])


def bias_table(found: list[Figures]) -> str:
    """Show bias and coverage."""
    head = ["design", "n", "R", "bias", "bias/se", "sharp bias", "(MC)", "coverage", "(MC)", "se/sd", "(MC)", "warned"]
    floats = ("g", "g", "g", ".4f", "+.2f", "+.2f", ".2f", ".3f", ".3f", ".2f", ".2f", ".2f")
    lines: list[list[object]] = [
        [
            label(f),
            f.n,
            f.replications,
            f.bias,
            f.bias_se,
            f.sharp,
            f.sharp_error,
            f.coverage,
            f.coverage_error,
            f.se_sd,
            f.se_sd_error,
            f.warned,
        ]
        for f in found
    ]
    return table(lines, head, floats)


def precision_table(found: list[Figures]) -> str:
    """Show precision and time."""
    head = ["design", "sd", "mean se", "se/oracle se", "interval length", "length/bound"]
    head += ["RMSE of theta(x)", "correlation", "sd/sd", "seconds"]
    lines: list[list[object]] = [
        [label(f), f.sd, f.se, f.se_oracle, f.length, f.bound, f.rmse, f.correlation, f.spread, f.seconds]
        for f in found
    ]
    return table(lines, head, ("g", ".4f", ".4f", ".2f", ".3f", ".2f", ".3f", ".2f", ".2f", ".1f"))


def diagnostics_table(rows: pd.DataFrame) -> str:
    """Show what the statistic of held-out residuals says of the bias: fits by class, a coefficient a row.

    The statistic is the one that a fit warns by: what outcome and treatment have in common, or the less of the two.
    """
    fits = rows[(rows["coefficient"] != "Intercept") & rows["estimate"].notna() & rows["treatment"].notna()]
    statistic = np.maximum(fits["both"], np.minimum(fits["outcome"], fits["treatment"]))
    lines: list[list[object]] = []
    for low, high in pairwise(SIGNAL):
        part = fits[(statistic > low) & (statistic <= high)]
        if part.empty:
            continue
        sharp = ((part["estimate"] - part["oracle"]) / part["se"]).abs()
        covered = (part["estimate"] - part["truth"]).abs() <= CRITICAL * part["se"]
        name = f"above {low:g}" if np.isinf(high) else f"up to {high:g}"
        lines.append([name, len(part), sharp.median(), sharp.quantile(0.9), (sharp > 1).mean(), covered.mean()])
    head = ["statistic", "estimates", "median", "90 % quantile", "share above 1", "coverage"]
    return table(lines, head, ("g", "g", ".2f", ".2f", ".3f", ".3f"))


def verdict_table(found: list[Figures], joints: Mapping[str, Joint]) -> str:
    """Show which goals are reached."""
    head = ["design", "coverage", "bias/se", "sharp bias", "se/sd", "se/oracle se", "joint coverage"]
    lines: list[list[object]] = []
    for f in found:
        both = joints[f.design]
        lines.append(
            [
                label(f),
                mark(within(f.coverage, COVERAGE, f.coverage_error)),
                mark(within(f.bias_se, (-BIAS, BIAS), f.bias_error)),
                mark(abs(f.sharp) <= SHARP),
                mark(within(f.se_sd, SPREAD, f.se_sd_error)),
                mark(f.se_oracle <= PRECISION),
                mark(within(both.coverage, JOINT, both.coverage_error)),
            ]
        )
    return table(lines, head)


def intercept_table(found: list[Figures], joints: Mapping[str, Joint]) -> str:
    """Show the intercepts, and all coefficients together."""
    head = ["design", "sharp bias", "(MC)", "coverage", "(MC)", "se/sd", "se/oracle se", "d", "joint coverage", "(MC)"]
    lines: list[list[object]] = []
    for f in found:
        both = joints[f.design]
        own = [f.design, f.sharp, f.sharp_error, f.coverage, f.coverage_error, f.se_sd, f.se_oracle]
        lines.append([*own, both.d, both.coverage, both.coverage_error])
    return table(lines, head, ("g", "+.2f", ".2f", ".3f", ".3f", ".2f", ".2f", "g", ".3f", ".3f"))


def peers_table(rows: pd.DataFrame, peers: Mapping[str, pd.DataFrame]) -> str:
    """Show each peer beside deepdml on the draws that both fitted."""
    head = ["design", "package", "R", "bias/se", "sharp bias", "(MC)", "coverage", "se/oracle se", "RMSE", "seconds"]
    lines: list[list[object]] = []
    for name in STUDIES:
        for peer, theirs in peers.items():
            their_rows = theirs[theirs["design"] == name]
            if their_rows.empty:
                continue
            draws = ["design", "replication", "coefficient"]
            both = rows.merge(their_rows[draws], on=draws)
            their_rows = their_rows.merge(both[draws], on=draws)
            for package, one in (("deepdml", both), (peer, their_rows)):
                if len(one):
                    f = figures(one)
                    cells = [f.bias_se, f.sharp, f.sharp_error, f.coverage, f.se_oracle, f.rmse, f.seconds]
                    lines.append([f.design, package, f.replications, *cells])
    return table(lines, head, ("g", "g", "g", "+.2f", "+.2f", ".2f", ".3f", ".2f", ".3f", ".1f"))


def named_shortfalls(found: list[Figures], joints: Mapping[str, Joint]) -> list[str]:
    """Return a line for each design that falls short, with the figures."""
    lines = []
    for name in dict.fromkeys(f.design for f in found):
        misses = [
            f"{f.coefficient}: {', '.join(missed)}" for f in found if f.design == name and (missed := shortfalls(f))
        ]
        both = joints[name]
        if not within(both.coverage, JOINT, both.coverage_error):
            misses.append(f"joint coverage {both.coverage:.3f} ({both.coverage_error:.3f})")
        if misses:
            known = STUDIES[name].limit if name in STUDIES else ""
            reason = f" What limits it: {known}." if known else ""
            lines.append(f"* **{name}** ({both.replications} replications): {'; '.join(misses)}.{reason}")
    return lines


def page(rows: pd.DataFrame, peers: Mapping[str, pd.DataFrame], machine: str, real: str, leakage: str) -> str:
    """Return docs/validation.md; `real` and `leakage` are the texts of sections that have rows of their own."""
    everything = by_coefficient(rows)
    joints = {str(name): joint(group) for name, group in rows.groupby("design")}
    slopes = [f for f in everything if f.coefficient != "Intercept"]
    intercepts = [f for f in everything if f.coefficient == "Intercept"]
    beside = peers_table(rows, peers) if any(len(theirs) for theirs in peers.values()) else "None are stored yet."
    draws = sum(both.replications for both in joints.values())
    return f"""# Do the intervals hold?

A Monte Carlo study of `deepdml.fit` with its default options, made by `make coverage`. Each design of
`deepdml.simulate` is drawn again and again; its docstring holds formula and source. Designs whose names end in
"-hessian" are fitted with `lambda_="hessian regression"` on the draws of the design without that ending.
{draws:,} draws of {len(joints)} designs so far, kept row by row in [validation/ours.csv](validation/ours.csv), to which
further runs add. Before a run adds to a design it fits the design's first draw again; if the figures differ, all rows
of the design are discarded. The table of designs names the commits that made the rows.
Page written with {machine}

{verdict_section(everything, joints)}
## Bias and coverage

Of the treatment's coefficient. "Sharp bias" is the mean of (estimate - mean of the oracle psi) / se: on the same rows,
so that sampling error cancels and what the nets cause remains. "(MC)" is the Monte Carlo error of the column before.
Coverage is that of the population value. "Warned" is the share of fits that warned their user.

{bias_table(slopes)}

## Precision

"Oracle" is the estimator that knows theta and the law of the treatment; "bound" the interval at the semiparametric
efficiency bound, empty where the oracle does not reach it (variances other than the family's, clusters). Seconds are
the median processor time of a fit on one thread while other fits ran beside it.
"Correlation" and "sd/sd" compare theta(x) with the truth over the rows; they are empty where the truth is constant.

{precision_table(slopes)}

## Do the diagnostics know?

All fits of all designs by the statistic of held-out residuals that a fit warns by (above 6): what outcome and treatment
have in common, or the less of the two where that is more. Median, quantile and share are those of the sharp bias in
absolute value; "coverage" is that of 95 % intervals.

{diagnostics_table(rows)}

## Intercepts, and all coefficients together

{intercept_table(intercepts, joints)}

## Beside other packages

On the same draws, deepdml's figures from those draws alone. deep-inference as in its tutorial on embeddings
(`hidden_dims=[128, 64], epochs=150, n_folds=50`). DoubleML with scikit-learn's nets of layers (64, 32), standardized
inputs and outcomes, early stopping and five folds, only where it estimates the same number: the interactive regression
model for a binary treatment and a gaussian outcome, the partially linear one for a constant effect (where effects vary,
its coefficient weights them by the variance of the treatment and is not their mean). Farrell, Liang & Misra (2021)
report for their designs, with nets of layers (60, 30, 20), biases of .0001 to .0012, coverage of .927 to .958 and
interval lengths of .079 to .155.

{beside}

## Real data

Defaults beside published figures; `vignettes/02_published_studies.py` has data, formulas and sources.

{real}

## Covariates that reveal the treatment

`make leakage` distils embeddings in which one direction shows the treatment, at several strengths, and refits;
[leakage.md](leakage.md) explains the designs and reads the tables.

{leakage}

## The designs

{designs_table(rows)}
"""


def verdict_section(everything: list[Figures], joints: Mapping[str, Joint]) -> str:
    """Return goals, verdicts and the list of what falls short."""
    judged = [f for f in everything if f.replications >= ENOUGH]
    names = dict.fromkeys(f.design for f in judged)
    short = named_shortfalls(judged, joints)
    few = [name for name in STUDIES if name not in names]
    unjudged = f"Too few draws to judge: {', '.join(few)}." if few else ""
    slopes = [f for f in judged if f.coefficient != "Intercept"]
    return f"""## Verdicts

{len(names) - len(short)} of {len(names)} designs with {ENOUGH} draws or more reach every goal for every coefficient,
the intercept included. {unjudged}

| figure | goal |
|---|---|
| coverage of 95 % intervals | {COVERAGE[0]} to {COVERAGE[1]}, give or take {SLACK:g} Monte Carlo errors |
| bias, in standard errors | at most {BIAS}, give or take {SLACK:g} Monte Carlo errors |
| sharp bias | at most {SHARP} |
| mean se over sd of the estimates | {SPREAD[0]} to {SPREAD[1]}, give or take {SLACK:g} Monte Carlo errors |
| mean se over the oracle's | at most {PRECISION} |
| joint coverage of all coefficients | {JOINT[0]} to {JOINT[1]}, give or take {SLACK:g} Monte Carlo errors |

{verdict_table(slopes, joints)}

### What falls short

{chr(10).join(short) if short else "Nothing." if names else "No design has been drawn often enough to say."}
"""
