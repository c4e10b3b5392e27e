"""What choices among a few levels have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError
from deepdml.families.base import Float
from deepdml.families.indices import MultiIndex


class Categories(MultiIndex):
    """Outcomes that are one of J levels, coded 0 to J - 1; a subclass gives their probabilities.

    Parameters
    ----------
    levels : sequence, optional
        The J levels in order; from the data by default.
    """

    support = "levels"
    categorical: ClassVar[bool] = True

    ordinal: ClassVar[bool] = False
    """Whether the order of the levels has a meaning."""

    def __init__(self, levels: Any = None) -> None:
        super().__init__()
        if levels is not None and (isinstance(levels, str) or not isinstance(levels, Iterable)):
            raise OptionError(f"levels={levels!r}; needed is a list of them.")
        given = [v.item() if isinstance(v, np.generic) else v for v in (() if levels is None else levels)]
        if any(v in given[:i] for i, v in enumerate(given)):
            raise OptionError(f"levels={given!r} names a level twice.")
        self.levels: tuple[Any, ...] = tuple(given)

    @property
    def n_levels(self) -> int:
        """Number J of levels."""
        return len(self.levels)

    def options(self) -> dict[str, Any]:
        return {"levels": list(self.levels)}

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(y) & (y >= 0) & (y == np.floor(y)))

    def for_outcome(self, y: Float, event: Float | None, levels: tuple[Any, ...]) -> Self:
        fitted = super().for_outcome(y, event, levels)
        fitted.levels = levels
        counts = np.bincount(y.astype(int), minlength=len(levels))
        if len(levels) < 3 or not counts.all():
            held = ", ".join(f"{level!r} in {count:,}" for level, count in zip(levels, counts, strict=False))
            what = (
                "For two levels use family='logit' or 'probit'."
                if np.count_nonzero(counts) < 3
                else "Take out the levels without rows, such as with .cat.remove_unused_categories()."
            )
            raise DataError(
                f"family {self.name!r} needs three levels or more, each with rows; the outcome is {held}. {what}"
            )
        return fitted

    def probabilities(self, eta: Any) -> Any:
        """Return P(y = level | t, x) of every level, (..., J)."""
        raise NotImplementedError

    def place(self, level: Any) -> int:
        """Return the position of a level among the J.

        Raises
        ------
        OptionError
            For what is none of them.
        """
        if level not in self.levels:
            raise OptionError(
                f"the outcome has no level {level!r}; its levels are {', '.join(map(repr, self.levels))}."
            )
        return self.levels.index(level)

    def probability(self, level: Any, eta: Any) -> Any:
        return self.probabilities(eta)[..., self.place(level)]

    def outcomes(self) -> tuple[Any, ...]:
        return self.levels

    def tail(self, cut: Any, eta: Any) -> Any:
        raise OptionError(f"the levels of family {self.name!r} have no order; use ChoiceProbability.")

    def variance(self, eta: Any) -> Any:
        raise OptionError(f"the outcome of family {self.name!r} is a level, which has no variance.")

    def mean(self, eta: Any) -> Any:
        raise OptionError(
            f"the outcome of family {self.name!r} is a level, which has no mean; use ChoiceProbability or "
            "TailProbability."
        )

    def perfect_loss(self, y: Float) -> Float:
        return np.zeros_like(y)
