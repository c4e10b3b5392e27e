"""The tables of a paper and the fits behind them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepdml.errors import OptionError
from deepdml.estimands import Projection
from deepdml.results import Results
from deepdml.results.fit import Fit
from deepdml.results.recipe import Recipe
from deepdml.results.storage import Parts, parts_of


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A table of the paper.

    Parameters
    ----------
    name : str
        As the paper calls it, "Table 1".
    slug : str
        The same as a file name, "table_1".
    fit : str
        The fit it comes from, "fit_1".
    results : Results
    recipe : Recipe
        How they were made.
    """

    name: str
    slug: str
    fit: str
    results: Results
    recipe: Recipe

    @property
    def parts(self) -> Parts:
        """What the Results consist of."""
        return parts_of(self.results)

    @property
    def shown(self) -> str:
        """What the table reports, in words."""
        estimand = self.parts.estimand
        what = f"{estimand.of} by {estimand.on}" if isinstance(estimand, Projection) else estimand.title
        return f"{what}; {self.recipe.call['formula']}; {self.results.cov_type}"


def arrange(given: Mapping[str, object]) -> tuple[Exhibit, ...]:
    """Return the exhibits of a package, with one fit for all Results that share it.

    Raises
    ------
    OptionError
        For no exhibit, clashing names, something other than Results, or Results that cannot be made again.
    DataError
        If the arrays of a fit were dropped.
    """
    if not isinstance(given, Mapping):
        raise OptionError(f"exhibits is a {type(given).__name__}; needed is a dict, exhibits={{'Table 1': res}}.")
    if not given:
        raise OptionError("exhibits is empty; name at least one, exhibits={'Table 1': res}.")
    found: list[Exhibit] = []
    fits: list[Fit] = []
    for name, results in given.items():
        slug = re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")
        if not slug or slug in [e.slug for e in found] or re.fullmatch(r"fit_\d+", slug):
            raise OptionError(f"exhibit {name!r} needs a name of letters or digits that no other exhibit has.")
        if not isinstance(results, Results):
            hint = "; of a Policy pack its value" if hasattr(results, "value") else ""
            raise OptionError(f"exhibit {name!r} is a {type(results).__name__}; Results are needed{hint}.")
        parts = parts_of(results)
        parts.fit.need_rows("a replication package")
        if parts.recipe is None:
            raise OptionError(
                f"exhibit {name!r} does not hold the options it was fitted with: it was saved by an older version, or "
                "made by a method that does not note them. Fit again with this version."
            )
        number = next((j for j, fit in enumerate(fits) if _same(fit, parts.fit)), len(fits))
        fits += [parts.fit] if number == len(fits) else []
        found.append(Exhibit(str(name), slug, f"fit_{number + 1}", results, parts.recipe))
    return tuple(found)


def _same(a: Fit, b: Fit) -> bool:
    """Whether two fits are one; those of separately loaded files are compared by what they hold."""
    if a is b:
        return True
    ours, theirs = a.need_rows("a comparison"), b.need_rows("a comparison")
    return (
        a.record == b.record
        and a.design.formula == b.design.formula
        and len(ours.repetitions) == len(theirs.repetitions)
        and all(np.array_equal(p.theta, q.theta) for p, q in zip(ours.repetitions, theirs.repetitions, strict=True))
    )
