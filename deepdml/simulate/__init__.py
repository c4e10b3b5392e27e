"""Designs with known truth: data, the true coefficients of every row, their population means and the oracle psi.

Each design is a function of a seed that returns a `Simulated`. Everything is drawn from one numpy generator; the global
state is never read. `oracle_psi` is what an estimator that knew every nuisance would average, so
`estimate - oracle_psi.mean()` on the same rows isolates the error of the nuisances from the sampling error.

>>> from deepdml import simulate
>>> wages = simulate.wages(n=500, seed=1)
>>> wages.formula, wages.family
('log_wage ~ experience | emb_*', 'gaussian')
>>> wages.truth["experience"]
1.0
"""

from deepdml.simulate.confounding import binary, heteroskedastic, randomized, smooth, steps, waves
from deepdml.simulate.draws import Simulated, oracle_psi
from deepdml.simulate.embeddings import citations, digits, latent_factors, purchases, wages
from deepdml.simulate.leakage import leaky_text
from deepdml.simulate.outcomes import choices, durations, outcome
from deepdml.simulate.published import (
    authors_example,
    doubleml_irm,
    doubleml_plr,
    farrell_liang_misra_2021,
    nie_wager,
)
from deepdml.simulate.structures import arms, clustered_errors, two_treatments
from deepdml.simulate.tutorial import tutorial_citations, tutorial_wages

__all__ = [
    "Simulated",
    "arms",
    "authors_example",
    "binary",
    "choices",
    "citations",
    "clustered_errors",
    "digits",
    "doubleml_irm",
    "doubleml_plr",
    "durations",
    "farrell_liang_misra_2021",
    "heteroskedastic",
    "latent_factors",
    "leaky_text",
    "nie_wager",
    "oracle_psi",
    "outcome",
    "purchases",
    "randomized",
    "smooth",
    "steps",
    "tutorial_citations",
    "tutorial_wages",
    "two_treatments",
    "wages",
    "waves",
]
