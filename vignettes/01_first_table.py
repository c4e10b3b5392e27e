# %% [markdown]
# # From a data frame to a table
#
# Log wages on experience, given a 64-dimensional embedding of the job description. The data are simulated, so that the
# table can be held against the truth: each of five kinds of job has its own return to experience, between 0.4 and 1.6,
# and people with high returns have more experience. Leaving the embedding out therefore biases the return upwards.

# %%
import tempfile
from pathlib import Path

import numpy as np
import statsmodels.api as sm

import deepdml as dd
from deepdml import simulate

sim = simulate.wages(n=4_000, seed=1)
jobs = sim.data
print(jobs.iloc[:3, :4])

# %% [markdown]
# ## The table
#
# Left of the bar stands what has a coefficient, right of it what the coefficients depend on.

# %%
res = dd.fit("log_wage ~ experience | emb_*", data=jobs, family="gaussian", seed=1)
print(res.summary())

# %% [markdown]
# The population's average return is 1. A regression without the embedding misses it, and its interval does not know:

# %%
ols = sm.OLS(jobs["log_wage"], sm.add_constant(jobs[["experience"]])).fit(cov_type="HC1")
print(f"truth            {sim.truth['experience']:.3f}")
print(f"deepdml          {res.params['experience']:.3f} ({res.bse['experience']:.3f})")
print(f"least squares    {ols.params['experience']:.3f} ({ols.bse['experience']:.3f})")

# %% [markdown]
# ## Heterogeneity
#
# `theta` holds each row's own coefficients, from fits that never saw the row. It describes; intervals are for averages.

# %%
print(res.hte().drop(columns="histogram").round(2).T)
print(res.hte()["histogram"].to_string())
print("correlation with the truth:", round(np.corrcoef(res.theta["experience"], sim.theta[:, 1])[0, 1], 3))

# %% [markdown]
# ## Can it be trusted?
#
# Out-of-fold fit of every nuisance beside a linear model and a constant, overlap, and what was clipped.

# %%
print(res.diagnostics)

# %% [markdown]
# ## Another covariance, new data, a file
#
# None of these trains anything again.

# %%
print(res.get_robustcov_results("HC0").bse)
print(res.t_test("experience = 1"))
print(res.predict(jobs.head(3)))

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "wages.deepdml"
    res.save(path)
    print(dd.load(path).params)
