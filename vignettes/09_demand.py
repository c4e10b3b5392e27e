# %% [markdown]
# # From one fit to elasticities, willingness to pay, a dose response and a policy
#
# A shop varied its price between customers and showed some of them an advertisement; both depended on what it knew of
# them. The outcome is whether they bought. Everything below comes from one fit: what changes is what is averaged.

# %%
import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import torch

import deepdml as dd

rng = np.random.default_rng(4)
n = 4_000
emb = rng.standard_normal((n, 6))
loyal = np.tanh(emb[:, 0])
PRICES = np.array([1.0, 1.5, 2.0, 2.5])
tilt = np.outer(0.4 * loyal + 0.2 * emb[:, 1], PRICES)
share = np.exp(tilt) / np.exp(tilt).sum(1, keepdims=True)
price = PRICES[(rng.random(n)[:, None] > share.cumsum(1)[:, :-1]).sum(1)]
ad = (rng.random(n) < 1 / (1 + np.exp(-0.5 * emb[:, 2]))) * 1.0
theta = np.column_stack([2.0 + 0.5 * loyal + 0.3 * emb[:, 2], -1.2 + 0.3 * loyal, 0.4 + 0.3 * np.sin(emb[:, 3])])


def chance(price, ad):
    return 1 / (1 + np.exp(-(theta[:, 0] + theta[:, 1] * price + theta[:, 2] * ad)))


buy = (rng.random(n) < chance(price, ad)) * 1.0
shop = pd.DataFrame({"buy": buy, "price": price, "ad": ad, **{f"emb_{j}": emb[:, j] for j in range(6)}})

# %% [markdown]
# ## The fit
#
# Four prices and two advertisements are eight cells: their propensities are learned, and Lambda(x) follows from them.

# %%
res = dd.fit("buy ~ price + ad | emb_*", shop, family="logit", seed=1)
print(res.summary())

# %% [markdown]
# The coefficients are average log-odds. In units that a shop knows:
#
# ## Elasticity and willingness to pay
#
# The elasticity of demand with respect to the price is an average over customers; what the advertisement is worth is
# the price rise that undoes it. Both share one covariance, so that they can be tested together.

# %%
both = res.estimate([dd.Elasticity("price"), dd.WillingnessToPay("ad", "price")])
print(both.summary().tables[1])
slope = chance(price, ad) * (1 - chance(price, ad)) * theta[:, 1]
print(f"true elasticity {np.mean(slope * price / chance(price, ad)):.3f}")
print(f"true willingness to pay {-theta[:, 2].mean() / theta[:, 1].mean():.3f}")

# %% [markdown]
# ## Demand as a function of the price
#
# With a band that covers the whole curve at once.

# %%
grid = np.linspace(1.0, 2.5, 7)
curve = res.estimate(dd.DoseResponse("price", grid))
band = curve.conf_int(joint=True)
truth = [chance(p, ad).mean() for p in grid]
print(pd.DataFrame({"demand": curve.params, "low": band[0], "high": band[1], "truth": truth}).round(3))
axes = res.plot_dose("price", grid)
axes.plot(grid, truth, "k:", label="truth")

# %% [markdown]
# What a rise from 1.5 to 2 takes from consumers, and the price with the largest profit if a unit costs 0.4:

# %%
print(res.estimate(dd.ConsumerWelfare("price", 2.0, 1.5)).summary().tables[1])
print(res.estimate(dd.OptimalPrice("price", 1.0, 2.5, cost=0.4)).summary().tables[1])
fine = np.linspace(1.0, 2.5, 151)
print(f"true optimal price {fine[np.argmax([(p - 0.4) * chance(p, ad).mean() for p in fine])]:.2f}")

# %% [markdown]
# ## Who should see the advertisement?
#
# At a price of 2 a sale earns 1.6, and an advertisement costs 0.12: it has to add 0.075 to the chance of a sale. The
# gain of each customer is a function of their own coefficients; the policy is a tree of depth two, judged on rows that
# did not choose it.


# %%
def gain(x, t, theta):
    without = theta[..., 0] + 2.0 * theta[..., 1]
    return torch.sigmoid(without + theta[..., 2]) - torch.sigmoid(without)


gains = res.estimate(gain)
true_gain = chance(2.0, 1.0) - chance(2.0, 0.0)
print(f"average gain {gains.params.iloc[0]:.3f} ({gains.bse.iloc[0]:.3f}), truth {true_gain.mean():.3f}")
policy = gains.policy(cost=0.075)
print(policy)
