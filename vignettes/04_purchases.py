# %% [markdown]
# # Purchases: who should get discounts?
#
# Whether a customer bought, on the discount, given a 64-dimensional embedding of the product's image. Simulated with
# known truth: five kinds of product, whose response to a discount is .4, .8, 1.2, 1.6 or 2.0 log-odds, and larger
# discounts on products that respond more.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import statsmodels.api as sm

import deepdml as dd
from deepdml import simulate

SMALL = os.environ.get("DEEPDML_VIGNETTES") == "small"  # fewer rows and one net: how the tests run this
FIGURES = Path(os.environ.get("DEEPDML_FIGURES", "figures"))
FIGURES.mkdir(exist_ok=True)

shop = simulate.purchases(seed=1, **({"n": 3_000} if SMALL else {}))
print(shop.data.iloc[:3, :5].round(2))

# %% [markdown]
# ## The table
#
# The family says what the outcome is; coefficients of a logit are log-odds.

# %%
res = dd.fit(shop.formula, shop.data, shop.family, learner="net" if SMALL else "auto", seed=1)
print(res.summary())

# %%
naive = sm.Logit(shop.data["bought"], sm.add_constant(shop.data[["discount"]])).fit(disp=False)
print(f"truth               {shop.truth['discount']:.3f}")
print(f"deepdml             {res.params['discount']:.3f} ({res.bse['discount']:.3f})")
print(f"logit, no embedding {naive.params['discount']:.3f} ({naive.bse['discount']:.3f})")

# %% [markdown]
# ## Heterogeneity against the truth
#
# A purchase is one bit, so that single responses are harder to learn than in wages:

# %%
print(res.hte(shop.theta)[["mean", "sd", "5%", "50%", "95%", "correlation", "histogram"]].round(2).to_string())

# %% [markdown]
# ## In units of purchases
#
# Log-odds are no basis for a decision. The average marginal effect is the change of the probability to buy per unit
# of discount; the contrast, what it gains to raise the discount from one half to one. Neither trains anything again.

# %%
print(res.get_margeff().summary().tables[1])
raise_it = res.estimate(dd.Contrast("discount", 1.0, 0.5))
print(raise_it.summary().tables[1])
buys = 1 / (1 + np.exp(-shop.theta @ np.array([[1.0, 1.0], [0.5, 1.0]])))  # columns: discounts of .5 and 1
print(f"truth {(buys[:, 1] - buys[:, 0]).mean():.4f}")

# %% [markdown]
# ## A figure
#
# Left, responses in log-odds; right, the share that buys at each discount, with a band for the whole curve.

# %%
doses = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
res.plot_hte("discount", ax=left)
res.plot_dose("discount", doses, ax=right)
figure.savefig(FIGURES / "04_purchases.png")
plt.close(figure)

# %% [markdown]
# ## Who should get discounts?
#
# The tutorial of deep-inference marks the products above the median response. Whether these really gain more is a
# question for the influence values: the average gain in both halves, with intervals.

# %%
print(raise_it.sorted_effects(2).summary().tables[1])

# %% [markdown]
# Suppose that raising the discount costs as much margin as 8 purchases in a hundred earn: then it pays where it
# raises the probability to buy by more than .08. The value of a policy is in purchases per customer, net of that
# cost, judged on rows that its trees and effects never saw. "effect above cost" raises the discount wherever the
# predicted gain is large enough; the tree is a rule in the columns themselves, for a shop that wants one it can write
# down.

# %%
leading = " + ".join(f"emb_{j}" for j in range(8))
policy = raise_it.policy(cost=0.08, on=leading)
print(policy)

# %% [markdown]
# Policy reading: what knowing the product is worth is "effect above cost" less "everyone". With its interval:

# %%
print(policy.value.t_test([[0, 1, -1, 0]]))
