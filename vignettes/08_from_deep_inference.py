# %% [markdown]
# # Moving code from deep-inference
#
# `structural_dml` takes the arguments of deep-inference's function of that name, and its result answers to the same
# attributes. So the tutorial's own calls run after changing one line:
#
#     from deep_inference import structural_dml  # before
#     from deepdml import structural_dml  # after

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import deepdml as dd
from deepdml import simulate, structural_dml

SMALL = os.environ.get("DEEPDML_VIGNETTES") == "small"  # fewer rows and epochs: how the tests run this
SETTINGS = {"epochs": 20, "n_folds": 10} if SMALL else {"epochs": 200, "n_folds": 50}
ROWS = {"n": 1_500} if SMALL else {}
FIGURES = Path(os.environ.get("DEEPDML_FIGURES", "figures"))
FIGURES.mkdir(exist_ok=True)

# %% [markdown]
# ## The gallery's first three calls
#
# Arrays as the tutorial names them, from designs with known truth.


# %%
def arrays(draw: simulate.Simulated) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, treatment and embedding."""
    outcome, treatment, *emb = (draw.data[name].to_numpy() for name in draw.data)
    return outcome, treatment, np.column_stack(emb)


jobs = simulate.wages(seed=1, **ROWS)
shop = simulate.purchases(seed=1, **ROWS)
papers = simulate.tutorial_citations(seed=1, **ROWS)
wages, experience, job_embeddings = arrays(jobs)
purchased, discount_pct, product_embeddings = arrays(shop)
citations, open_access, abstract_embeddings = arrays(papers)

# %%
result = structural_dml(Y=wages, T=experience, X=job_embeddings, family="linear", seed=1, **SETTINGS)
print(result.summary())
returns = result

# %%
result = structural_dml(Y=purchased, T=discount_pct, X=product_embeddings, family="logit", seed=1, **SETTINGS)
print(result.summary())

# Who should get discounts?
beta_hat = result.theta_hat[:, 1]
high_responders = beta_hat > np.median(beta_hat)
means = [shop.theta[rows, 1].mean() for rows in (high_responders, ~high_responders)]
print(f"true responses: {means[0]:.2f} of the high responders, {means[1]:.2f} of the others")

# %%
result = structural_dml(Y=citations, T=open_access, X=abstract_embeddings, family="poisson", seed=1, **SETTINGS)
print(result.summary())

# Citation multiplier
print(f"multiplier: {np.exp(result.mu_hat):.2f}x, true {np.exp(papers.truth['open_access']):.2f}x")

# %% [markdown]
# ## The attributes
#
# `mu_hat`, `se`, `ci_lower`, `ci_upper` are those of the treatment's coefficient; `theta_hat` holds every row's
# coefficients, `psi_values` its influence values.

# %%
result = returns
print(f"mu_hat {result.mu_hat:.4f}, se {result.se:.4f}, interval {result.ci_lower:.4f} to {result.ci_upper:.4f}")
print(f"truth  {jobs.truth['experience']:.4f}")
print(f"Corr(true, estimated) = {np.corrcoef(jobs.theta[:, 1], result.theta_hat[:, 1])[0, 1]:.3f}")
print("psi_values", result.psi_values.shape, "with mean", round(float(np.mean(result.psi_values)), 4))

# %% [markdown]
# ## What else the result can do
#
# It is a `Results` like any other: heterogeneity beside the truth, tests, other estimands, figures.

# %%
print(result.hte(jobs.theta)[["mean", "sd", "5%", "95%", "correlation", "histogram"]].round(2).to_string())
print(result.t_test("T = 1"))

# %%
figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
result.plot_hte("T", ax=axis)
figure.savefig(FIGURES / "08_from_deep_inference.png")
plt.close(figure)

# %% [markdown]
# ## What differs
#
# deep-inference reads treatment and covariates as arrays; a formula reads columns by name, knows categories, and
# takes several treatments, weights and clusters. `hidden_dims`, `epochs` and `lr` of the tutorial were chosen for its
# nets: leave them out, and the learner chooses for itself, with learners beside nets. The same wages with nothing
# set:

# %%
res = dd.fit(jobs.formula, jobs.data, jobs.family, learner="net" if SMALL else "auto", seed=1)
print(dd.etable([result, res], headers=["structural_dml", "formula"]))

# %% [markdown]
# Policy reading: as for any fit. Jobs in the highest fifth of predicted returns gain this much from a unit of
# experience, those in the lowest fifth that much:

# %%
print(res.sorted_effects(of="experience").summary().tables[1])
