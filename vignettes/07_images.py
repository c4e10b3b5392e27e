# %% [markdown]
# # Images as covariates
#
# Semi-synthetic, so that there is a truth: the images are real, 1,797 handwritten digits of 8 x 8 pixels that
# scikit-learn ships; treatment and outcome are simulated on what the images show. How much ink there is, on which
# side, and whether the digit has a loop (0, 6, 8, 9) decide who is treated how much, and how much the treatment does.
# None of the three is a column.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import statsmodels.formula.api as smf
from sklearn.datasets import load_digits

import deepdml as dd
from deepdml import simulate

SMALL = os.environ.get("DEEPDML_VIGNETTES") == "small"  # one net: how the tests run this
FIGURES = Path(os.environ.get("DEEPDML_FIGURES", "figures"))
FIGURES.mkdir(exist_ok=True)

scans = simulate.digits(seed=1)
pixels = scans.data.filter(like="pixel_").to_numpy()
print(f"{len(scans.data):,} images, {pixels.shape[1]} pixels of {pixels.min():.0f} to {pixels.max():.0f}")

# %% [markdown]
# ## The table
#
# Pixels are columns like any others. Larger pictures go through a frozen encoder first: `dd.embed.image(paths,
# model="torchvision/mobilenet_v2")` returns columns for the same formula.

# %%
res = dd.fit(scans.formula, scans.data, learner="net" if SMALL else "auto", seed=1)
print(res.summary())

# %%
ols = smf.ols("y ~ t", scans.data).fit(cov_type="HC1")
ink = smf.ols("y ~ t + ink", scans.data.assign(ink=pixels.mean(1))).fit(cov_type="HC1")
for name, fit in {"deepdml": res, "least squares": ols, "least squares on ink": ink}.items():
    print(f"{name:22} {fit.params['t']:.3f} ({fit.bse['t']:.3f})")
print(f"{'truth':22} {scans.truth['t']:.3f}")

# %% [markdown]
# The foot of the table matters here: held-out residuals still vary with the pixels. A loop is a matter of shape,
# which 1,797 images teach a fully connected net only in part; what is left of it in outcome and treatment alike is
# bias. The interval covers the truth, and a reader of the note would want more images, or columns that know shapes.
#
# ## How many pixels does it take?
#
# Averages over blocks of pixels hide shapes, and with them what confounds. Fits at three resolutions in one table, with
# joint intervals and a test whether they are the same; a table like this is what can be shown where there is no truth.

# %%
coarser = {}
for side in (4, 2):
    step = 8 // side
    blocks = pixels.reshape(-1, side, step, side, step).mean((2, 4)).reshape(len(pixels), -1)
    frame = scans.data[["y", "t"]].assign(**{f"block_{j}": column for j, column in enumerate(blocks.T)})
    coarser[f"{side} x {side}"] = dd.fit("y ~ t | block_*", frame, learner="net" if SMALL else "auto", seed=1)
resolutions = dd.joint({"8 x 8": res, **coarser})
print(resolutions.summary().tables[1])
print(resolutions.conf_int(joint=True).round(3).rename(columns={0: "joint, low", 1: "high"}))
print(resolutions.wald_test("t[8 x 8] = t[4 x 4] = t[2 x 2]"))
print(f"truth {scans.truth['t']:.3f}")

# %% [markdown]
# ## Heterogeneity against the truth

# %%
print(res.hte(scans.theta)[["mean", "sd", "5%", "50%", "95%", "correlation", "histogram"]].round(2).to_string())

# %% [markdown]
# ## Read off the picture
#
# The effect by digit. A digit with a loop has an effect larger by .2 on average; labels of the images are known here,
# and were not used by the fit.

# %%
images, labels = load_digits(return_X_y=True)
digit = {image.tobytes(): label for image, label in zip(images.astype(np.float32), labels, strict=True)}
shown = np.array([digit[row.tobytes()] for row in np.ascontiguousarray(pixels)])
loop = np.where(np.isin(shown, (0, 6, 8, 9)), "loop", "no loop")
groups = res.gate(loop)
print(groups.summary().tables[1])
print(groups.t_test([[1, -1]]))
print("truth:", {name: round(float(scans.theta[loop == name, 1].mean()), 3) for name in ("loop", "no loop")})

# %% [markdown]
# ## A figure
#
# Above, the images with the smallest and the largest predicted effects; below, the effects of all.

# %%
order = np.argsort(res.theta["t"].to_numpy())
figure = plt.figure(figsize=(9, 5), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=[1, 2])
for axis, row in zip(top.subplots(1, 10), [*order[:5], *order[-5:]], strict=True):
    axis.imshow(pixels[row].reshape(8, 8), cmap="gray_r")
    axis.set_axis_off()
    axis.set_title(f"{res.theta['t'].iloc[row]:.2f}", fontsize=8)
left, right = bottom.subplots(1, 2)
res.plot_hte("t", ax=left)
res.plot_overlap(ax=right)
figure.savefig(FIGURES / "07_images.png")
plt.close(figure)

# %% [markdown]
# Policy reading: the treatment pays where its effect is above what it costs. At a cost of 1.2 per unit giving it to all
# loses, and a rule in four pixels avoids the loss, which is the last line. Whether the rule gains anything beside
# giving it to nobody, its own line says, and here its interval holds zero. Gains per image, judged on images that were
# not used to decide:

# %%
policy = res.policy(cost=1.2, of="t", on="pixel_20 + pixel_28 + pixel_36 + pixel_43")
print(policy)
