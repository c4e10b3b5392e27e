"""The designs of the coverage study: what is drawn, how often, and what it is for."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from deepdml import simulate
from deepdml.simulate import Simulated
from deepdml.simulate.outcomes import OUTCOMES


@dataclass(frozen=True, slots=True)
class Study:
    """One design of the study.

    Parameters
    ----------
    name : str
        What it is called on the command line and in the tables.
    design : str
        Function of deepdml.simulate.
    n : int
        Rows of a draw.
    purpose : str
        What the design is for.
    options : mapping
        Further arguments of the function.
    replications : int
        Draws, if the command line does not say.
    limit : str
        What limits the fit, where it falls short and this is known.
    fit : mapping
        Arguments of `deepdml.fit`, where it is not to choose them.
    same_draws : str
        Name of the design whose draws these are, if it is another.
    doubleml : {"IRM", "PLR"} or None
        The model of DoubleML that estimates the same number, if there is one: the interactive model where T is binary
        and the outcome gaussian, the partially linear one where the effect is constant.
    """

    name: str
    design: str
    n: int
    purpose: str
    options: Mapping[str, Any] = field(default_factory=dict)
    replications: int = 100
    limit: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    same_draws: str = ""
    doubleml: Literal["IRM", "PLR"] | None = None

    def draw(self, replication: int) -> Simulated:
        """Return the draw of a replication; its seed is the design's own unless it shares the draws of another."""
        seed = zlib.crc32((self.same_draws or self.name).encode()) + replication
        drawn: Simulated = getattr(simulate, self.design)(n=self.n, seed=seed, **self.options)
        return drawn

    @property
    def call(self) -> str:
        """The design as one would type it, and how it is fitted where that is not by default."""
        options, chosen = (", ".join(f"{k}={v!r}" for k, v in given.items()) for given in (self.options, self.fit))
        return f"{self.design}({options})" + (f", fit(..., {chosen})" if chosen else "")


def _more_rows(name: str) -> str:
    return f"rows: at four times as many ({name}) it comes right"


def _flm() -> list[Study]:
    return [
        Study(
            f"flm-d{d}{'' if quadratic else '-linear'}{'-randomized' if randomized else ''}",
            "farrell_liang_misra_2021",
            10_000,
            "Farrell, Liang & Misra (2021), section 6",
            {"d": d, "randomized": randomized, "quadratic": quadratic},
            doubleml="IRM",
        )
        for d in (20, 100)
        for quadratic in (True, False)
        for randomized in (False, True)
    ]


def _nie_wager() -> list[Study]:
    purposes = {
        "A": "difficult nuisances, an easy effect",
        "B": "randomized, kinks",
        "C": "easy propensity, a constant effect",
        "D": "unrelated arms, little overlap",
    }
    limits = {"A": _more_rows("nie-wager-a-16000")}
    return [
        Study(
            f"nie-wager-{setup.lower()}",
            "nie_wager",
            4_000,
            f"Nie & Wager (2021): {purpose}",
            {"setup": setup},
            limit=limits.get(setup, ""),
            doubleml="IRM",
        )
        for setup, purpose in purposes.items()
    ]


def _larger(studies: dict[str, Study]) -> dict[str, Study]:
    """Return designs whose figures fall short, at four times the rows: do they come right?"""
    found = {}
    for name in LARGER:
        study = studies[name]
        n = 4 * study.n
        larger = replace(
            study, name=f"{name}-{n}", n=n, purpose="four times the rows", replications=20, limit="", doubleml=None
        )
        found[larger.name] = larger
    return found


LARGER = (
    "steps",
    "waves",
    "latent-factors",
    "nie-wager-a",
    "tutorial-wages-shared",
    "tutorial-citations-shared",
    "binary-logit",
    "two-treatments-logit",
    "outcome-negbin",
    "durations",
    "arms",
)


def _hessian(studies: dict[str, Study]) -> dict[str, Study]:
    """Return designs of which Lambda is known given the law of the treatment, with Lambda by hessian regression."""
    found = {}
    for name in ("smooth-logit", "smooth-poisson", "binary-logit", "two-treatments-logit", "two-treatments-poisson"):
        found[f"{name}-hessian"] = replace(
            studies[name],
            name=f"{name}-hessian",
            purpose="the same draws, Lambda by hessian regression",
            fit={"lambda_": "hessian regression"},
            same_draws=name,
        )
    return found


SHARED = (
    "the same hard function moves treatment and effect, so that what one nuisance misses the other misses, too; at "
    "four times the rows the bias is about as large in standard errors"
)
FLOOR = (
    "the propensity levels off where it is small, candidates that are polynomials in the log-odds go on falling, and a "
    "row that is treated there weighs too much"
)
STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study("wages", "wages", 10_000, "clustered embeddings, gaussian"),
        Study("purchases", "purchases", 16_000, "clustered embeddings, logit"),
        Study("citations", "citations", 12_000, "clustered embeddings, poisson"),
        Study("tutorial-wages", "tutorial_wages", 10_000, "the tutorial's moments, gaussian"),
        Study(
            "tutorial-wages-shared",
            "tutorial_wages",
            10_000,
            "the same, confounded by what moves the effect",
            {"confounding": "shared"},
            limit=f"{SHARED} (tutorial-wages-shared-40000)",
        ),
        Study("tutorial-citations", "tutorial_citations", 12_000, "the tutorial's moments, poisson, binary T"),
        Study(
            "tutorial-citations-shared",
            "tutorial_citations",
            12_000,
            "the same, confounded by what moves the effect",
            {"confounding": "shared"},
            limit=f"{SHARED} (tutorial-citations-shared-48000)",
        ),
        Study(
            "latent-factors",
            "latent_factors",
            10_000,
            "64 columns from five factors",
            limit="the factors must be learned from the columns; at four times the rows (latent-factors-40000) the "
            "bias is no smaller in standard errors",
        ),
        Study(
            "digits",
            "digits",
            1_797,
            "real images, simulated outcomes",
            limit="which images have loops must be learned from the 1,797 that there are",
        ),
        Study("smooth", "smooth", 5_000, "smooth confounding, continuous T"),
        Study("smooth-logit", "smooth", 10_000, "the same, logit", {"family": "logit"}),
        Study("smooth-poisson", "smooth", 8_000, "the same, poisson", {"family": "poisson"}),
        Study(
            "overdispersed",
            "smooth",
            8_000,
            "counts with variance m + m^2",
            {"family": "poisson", "dispersion": 1.0},
        ),
        Study("heteroskedastic", "heteroskedastic", 5_000, "variances of errors and of T depend on x"),
        Study("binary", "binary", 4_000, "binary T, non-linear propensity", doubleml="IRM"),
        Study(
            "binary-logit",
            "binary",
            8_000,
            "the same, logit",
            {"family": "logit"},
            limit="rows: at four times as many (binary-logit-32000) the bias is within its error of zero. But there "
            f"single draws have standard errors far above the oracle's: {FLOOR}",
        ),
        Study("binary-poisson", "binary", 8_000, "the same, poisson", {"family": "poisson"}),
        *(
            Study(
                f"outcome-{family}",
                "outcome",
                6_000,
                f"family {family}, all its parameters",
                {"family": family},
                limit=_more_rows("outcome-negbin-24000") if family == "negbin" else "",
            )
            for family in OUTCOMES
        ),
        Study("choices", "choices", 6_000, "a choice among three, all its parameters"),
        Study("durations", "durations", 6_000, "censored durations, all their parameters"),
        Study("randomized", "randomized", 4_000, "stratified experiment, known propensity", doubleml="IRM"),
        Study(
            "waves",
            "waves",
            8_000,
            "fast waves, three-way interaction",
            limit="nets alone can learn these, and slowly; at four times the rows (waves-32000) the bias is no smaller "
            "in standard errors: it falls as they do",
        ),
        Study(
            "steps",
            "steps",
            8_000,
            "steps, triangles and minima",
            limit="jumps are found to within a few rows, but outcome and treatment share those rows, as they do the "
            "kinks of a minimum of three columns; at four times the rows (steps-32000) the bias is no smaller in "
            "standard errors",
        ),
        Study("arms", "arms", 6_000, "three arms", limit=f"{FLOOR}; more rows do not help (arms-24000)"),
        Study("two-treatments", "two_treatments", 6_000, "two continuous treatments"),
        *(
            Study(
                f"two-treatments-{family}",
                "two_treatments",
                6_000,
                f"the same, {family}",
                {"family": family},
                limit=limit,
            )
            for family, limit in (("logit", _more_rows("two-treatments-logit-24000")), ("poisson", ""))
        ),
        Study("clustered-errors", "clustered_errors", 5_000, "100 clusters, intraclass correlation 0.3"),
        *_flm(),
        Study("authors", "authors_example", 15_000, "the authors' example", doubleml="IRM"),
        Study(
            "authors-randomized",
            "authors_example",
            15_000,
            "the authors' example, P(T = 1) = 0.5",
            {"randomized": True},
            doubleml="IRM",
        ),
        *_nie_wager(),
        Study("doubleml-irm", "doubleml_irm", 4_000, "DoubleML's make_irm_data", doubleml="IRM"),
        Study("doubleml-plr", "doubleml_plr", 4_000, "DoubleML's make_plr_CCDDHNR2018", doubleml="PLR"),
    )
}
STUDIES |= _hessian(STUDIES) | _larger(STUDIES)
