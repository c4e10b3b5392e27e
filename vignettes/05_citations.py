# %% [markdown]
# # Citations: does open access pay?
#
# Counts of citations given a 64-dimensional embedding of the abstract. Simulated twice, with known truth: exposure as
# a continuous treatment of five kinds of paper, and open access, yes or no, with the moments of the embedding
# tutorial of deep-inference.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import deepdml as dd
from deepdml import simulate

SMALL = os.environ.get("DEEPDML_VIGNETTES") == "small"  # fewer rows and one net: how the tests run this
ROWS = {"n": 3_000} if SMALL else {}
LEARNER = "net" if SMALL else "auto"
FIGURES = Path(os.environ.get("DEEPDML_FIGURES", "figures"))
FIGURES.mkdir(exist_ok=True)
HTE = ["mean", "sd", "5%", "50%", "95%", "correlation", "histogram"]

# %% [markdown]
# ## Five kinds of paper
#
# Coefficients of a count are log points: .3, .6, 1.0, 1.4 or 1.8 per unit of exposure, by kind of paper.

# %%
papers = simulate.citations(seed=1, **ROWS)
clusters = dd.fit(papers.formula, papers.data, papers.family, learner=LEARNER, seed=1)
print(clusters.summary())
print(f"truth {papers.truth['exposure']:.3f}")
print(clusters.hte(papers.theta)[HTE].round(2).to_string())

# %% [markdown]
# ## Open access
#
# Now the effect has mean .297 and sd .415 log points, the propensity depends on the abstract, and papers are cited
# four times on average.

# %%
journal = simulate.tutorial_citations(seed=1, **ROWS)
res = dd.fit(journal.formula, journal.data, journal.family, learner=LEARNER, seed=1)
print(res.summary())

# %% [markdown]
# A coefficient in log points is a multiplier after exp(): the geometric mean of what each paper's citations are
# multiplied by. The interval is that of the coefficient, transformed, so that it cannot go below zero. Beside it what a
# comparison of means would say.

# %%
low, high = np.exp(res.conf_int().loc["open_access"])
means = journal.data.groupby("open_access")["citations"].mean()
multipliers = {
    "deepdml": [np.exp(res.params["open_access"]), low, high],
    "comparison of means": [means[1] / means[0], np.nan, np.nan],
    "truth": [np.exp(journal.truth["open_access"]), np.nan, np.nan],
}
print(pd.DataFrame(multipliers, index=["exp(mu)", "[0.025", "0.975]"]).T.round(3).to_string(na_rep=""))

# %% [markdown]
# `dd.IncidenceRateRatio` has the same number as Results, with the delta method's standard error, to be tested or put
# beside others. In citations rather than ratios, and for the papers that are open as they are:

# %%
print(res.estimate(dd.IncidenceRateRatio("open_access")).summary().tables[1])
gains = res.estimate([dd.Contrast("open_access", 1, 0), dd.Contrast("open_access", 1, 0, subset="treated")])
print(gains.summary().tables[1])

# %% [markdown]
# ## Heterogeneity against the truth

# %%
print(res.hte(journal.theta)[HTE].round(3).to_string())

# %% [markdown]
# ## A figure
#
# Left, the effects of all papers; right, propensities of both groups: where they do not overlap there is nothing to
# compare.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
res.plot_hte("open_access", ax=left)
res.plot_overlap(ax=right)
figure.savefig(FIGURES / "05_citations.png")
plt.close(figure)

# %% [markdown]
# ## Which papers benefit?

# %%
gain = res.estimate(dd.Contrast("open_access", 1, 0))
print(gain.sorted_effects().summary().tables[1])

# %% [markdown]
# Policy reading: suppose that a library pays a fee for each open paper and values a citation so that the fee is worth
# two of them. Then opening pays where it brings more than two. Citations per paper, net of the fee, judged on papers
# that were not used to decide:

# %%
leading = " + ".join(f"emb_{j}" for j in range(8))
print(gain.policy(cost=2.0, on=leading))
