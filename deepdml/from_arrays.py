"""structural_dml: a fit to arrays, under the argument names of the deep-inference package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from deepdml.design.labels import in_order, labels_among
from deepdml.errors import DataError, OptionError
from deepdml.model import fit
from deepdml.options import Auto, widths

if TYPE_CHECKING:
    from deepdml.results import Results


def structural_dml(
    Y: ArrayLike,
    T: ArrayLike,
    X: ArrayLike,
    family: object = "gaussian",
    *,
    hidden_dims: Sequence[int] | Auto = "auto",
    epochs: int | Auto = "auto",
    n_folds: int = 50,
    lr: float | Auto = "auto",
    verbose: bool = False,
    **options: Any,
) -> Results:
    """Fit arrays, with the argument names of the deep-inference package, whose code runs after changing the import.

    Parameters
    ----------
    Y : (n,) array
        Outcome.
    T : (n,) or (n, k) array
        Treatments.
    X : (n, p) array
        Covariates.
    family : str, deepdml family or statsmodels family
    hidden_dims : sequence of int or "auto"
        `hidden` of `DeepDML.fit`.
    epochs, n_folds, lr
        As in `DeepDML.fit`.
    verbose : bool
        Whether to show the progress bar.
    **options
        Further options of `DeepDML.fit`.

    Returns
    -------
    Results
        It also answers to mu_hat, se, ci_lower, ci_upper, theta_hat and psi_values, for the treatment's coefficient.

    Examples
    --------
    >>> import numpy as np
    >>> from deepdml import structural_dml
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((500, 3))
    >>> T = X[:, 0] + rng.standard_normal(500)
    >>> Y = X[:, 0] + (1 + X[:, 1]) * T + rng.standard_normal(500)
    >>> res = structural_dml(Y, T, X, family="linear", n_folds=5, seed=1)
    >>> bool(res.ci_lower < 1 < res.ci_upper)
    True
    """
    data, columns = _named_arrays(Y, T, X)
    return fit(
        f"Y ~ {' + '.join(columns)} | X",
        data,
        family,
        **_beside(
            options, hidden=hidden_dims, epochs=epochs, n_folds=n_folds, lr=lr, progress=None if verbose else False
        ),
    )


def _named_arrays(outcome: ArrayLike, treatments: ArrayLike, covariates: ArrayLike) -> tuple[dict[str, Any], list[str]]:
    """Return columns Y, T (or T0, T1, ...) and X of arrays, and the names of the treatments.

    Raises
    ------
    DataError
        For treatments that are no numbers, and for pandas objects with other row labels than one another's.
    """
    labels = labels_among((outcome, treatments, covariates))
    arrays = (in_order(*pair, labels) for pair in (("Y", outcome), ("T", treatments), ("X", covariates)))
    y, treatments, x = np.asarray(next(arrays)), next(arrays), np.asarray(next(arrays))
    try:
        given = np.asarray(treatments, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"T holds something other than numbers ({error}). For categories use fit() and C(...) in its formula."
        ) from error
    columns = {"T": given} if given.ndim == 1 else {f"T{j}": column for j, column in enumerate(given.T)}
    # the labels stay with the outcome, so that groups and weights of pandas find their rows
    labelled = pd.Series(y, index=labels) if labels is not None and y.shape == labels.shape else y
    return {"Y": labelled, **columns, "X": x[:, None] if x.ndim == 1 else x}, list(columns)


def _beside(options: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """Return the options of `fit` and those that `structural_dml` has names of its own for.

    Raises
    ------
    OptionError
        For an option that is given by the name it has in `fit`.
    """
    given = own["hidden"]
    hidden: Any = given if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    widths(hidden, "hidden_dims")
    for name, here in (("hidden", "hidden_dims"), ("progress", "verbose")):
        if name in options:
            raise OptionError(f"structural_dml has {here} in the place of {name}, as the deep-inference package has.")
    return {**options, **own, "hidden": hidden}
