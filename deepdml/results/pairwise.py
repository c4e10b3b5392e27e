"""Comparisons of all pairs of levels of a categorical term."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contrast import MultiCompResult, t_test_multi

from deepdml.errors import OptionError, unknown_option

if TYPE_CHECKING:
    from deepdml.results.linear import LinearTests

Float = NDArray[np.float64]

# without a reference level only plain categories count: poly(x, 2)[1] or C(arm, contr.sum)[S.a] are no levels
_PLAIN = re.compile(r"C\([^,]*\)|\w+")


def t_test_pairwise(
    tests: LinearTests,
    term_columns: dict[str, slice],
    names: tuple[str, ...],
    term: str,
    method: str | list[str],
    alpha: float,
    factor_labels: list[str] | None,
) -> MultiCompResult:
    """Return z tests of all pairs of levels; see Results.t_test_pairwise.

    Raises
    ------
    OptionError
        For an unknown term, for one without levels, or for labels of another number.
    """
    if term not in term_columns:
        raise unknown_option("term", term, term_columns)
    positions = range(len(names))[term_columns[term]]
    levels, encoding = _levels(term, [names[j] for j in positions])
    if factor_labels is not None and len(factor_labels) != len(levels):
        raise OptionError(
            f"factor_labels has {len(factor_labels)} names, but term {term!r} has {len(levels)} levels "
            f"({', '.join(levels)})."
        )
    levels = factor_labels or levels
    pairs = list(combinations(range(len(levels)), 2))
    contrasts = np.zeros((len(pairs), len(names)))
    contrasts[:, list(positions)] = [encoding[b] - encoding[a] for a, b in pairs]
    labels = [f"{levels[b]}-{levels[a]}" for a, b in pairs]
    frame = t_test_multi(tests, contrasts, method=method, alpha=alpha, contrast_names=labels)
    return MultiCompResult(
        result_frame=frame, contrasts=contrasts, term=term, contrast_labels=labels, term_encoding_matrix=encoding
    )


def _levels(term: str, columns: list[str]) -> tuple[list[str], Float]:
    """Return the levels of a term and their coding (levels, columns); a reduced coding has a reference row of zeros."""
    inner = [
        column[len(term) + 1 : -1] if column.startswith(f"{term}[") and column.endswith("]") else None
        for column in columns
    ]
    levels = [level for level in inner if level is not None]
    if len(levels) == len(columns) and all(level.startswith("T.") for level in levels):
        return ["reference", *(level[2:] for level in levels)], np.vstack(
            [np.zeros(len(columns)), np.eye(len(columns))]
        )
    if len(levels) == len(columns) and _PLAIN.fullmatch(term):
        return levels, np.eye(len(columns))
    raise OptionError(
        f"term {term!r} with column(s) {', '.join(columns)} is not one categorical variable in treatment coding, "
        "so its levels cannot be compared in pairs. Write the hypotheses out with t_test()."
    )
