from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepdml.errors import DataError, InferenceWarning, OptionError
from deepdml.inference import covariance
from deepdml.results import Results


def whole(known: Any, n_clusters: int = 40) -> tuple[Any, np.ndarray]:
    """Clusters that the folds keep whole: cluster c lies in fold c mod 5."""
    codes = np.arange(known.data.y.size) % n_clusters
    return replace(known, folds=(codes % 5)[None]), codes


def test_other_covariances_leave_the_estimates(results: Results) -> None:
    other = results.get_robustcov_results("hc0")
    pd.testing.assert_series_equal(other.params, results.params)
    np.testing.assert_allclose(other.bse, results.bse * np.sqrt(398 / 400), rtol=1e-12)
    assert (other.cov_type, results.cov_type) == ("HC0", "HC1")
    assert results.get_robustcov_results().bse.equals(results.bse)


def test_clusters_without_retraining(build: Callable[..., Any]) -> None:
    known, codes = whole(build(weights=True))
    res = known.results()
    other = res.get_robustcov_results("cluster", groups=pd.Series(codes, name="firm"))
    expected = covariance(res.psi.to_numpy(), known.data.weights, "cluster", codes, df=2)
    np.testing.assert_allclose(other.cov_params(), expected.matrix, rtol=1e-12)
    assert other.cov_kwds["n_groups"] == 40
    np.testing.assert_array_equal(other.cov_kwds["groups"][:, 0], codes)
    assert "clustered by firm" in str(other.summary())
    assert "Clusters:" in str(other.summary())
    plain = res.get_robustcov_results("cluster", groups=codes, use_correction=False)
    factor = 40 / 39 * 399 / 398
    np.testing.assert_allclose(other.cov_params(), plain.cov_params() * factor, rtol=1e-12)


def test_two_ways(build: Callable[..., Any]) -> None:
    known, codes = whole(build())
    frame = pd.DataFrame({"firm": codes, "cell": np.arange(400) // 20})
    known = replace(known, folds=np.zeros((1, 400), dtype=int))
    res = known.results()
    other = res.get_robustcov_results("cluster", groups=frame)
    pair = res.get_robustcov_results("cluster", groups=[frame["firm"], frame["cell"]])
    pd.testing.assert_frame_equal(other.cov_params(), pair.cov_params())
    assert "clustered by firm and cell" in str(other.summary())


def test_groups_of_the_fit_are_the_default(build: Callable[..., Any]) -> None:
    known, codes = whole(build())
    known = replace(known, data=replace(known.data, groups=codes[:, None], group_names=("firm",)))
    at_fit = known.results(cov_type="cluster", cov_kwds={"groups": codes})
    later = known.results().get_robustcov_results("cluster")
    pd.testing.assert_frame_equal(at_fit.cov_params(), later.cov_params())


def test_split_clusters_are_warned_of_with_the_way_out(build: Callable[..., Any]) -> None:
    known, codes = whole(build())
    folds = known.folds.copy()
    folds[0, :3] = 4 - folds[0, :3]  # moves rows of clusters 0 and 1, and leaves row 2 where it was
    res = replace(known, folds=folds).results()
    with pytest.warns(InferenceWarning, match=r"^2 of 40 clusters in 'firm' have rows in .*Refit with") as caught:
        other = res.get_robustcov_results("cluster", groups=pd.Series(codes, name="firm"))
    assert caught[0].filename == __file__
    assert "have rows in more than one fold" in " ".join(str(other.summary()).split())


def test_split_in_any_repetition_counts(build: Callable[..., Any]) -> None:
    from deepdml.families import Gaussian
    from deepdml.results import make_results

    known, codes = whole(build())
    folds = np.vstack([known.folds, np.arange(400)[None] % 7])
    res = make_results(known.data, Gaussian(), (known.influence,) * 2, folds, known.record, None)
    with pytest.warns(InferenceWarning, match="40 of 40"):
        res.get_robustcov_results("cluster", groups=codes)


def test_few_clusters_are_warned_of_once(build: Callable[..., Any]) -> None:
    from deepdml.families import Gaussian
    from deepdml.results import make_results

    known, codes = whole(build(), 10)
    res = make_results(
        known.data, Gaussian(), (known.influence,) * 3, np.repeat(known.folds, 3, axis=0), known.record, None
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other = res.get_robustcov_results("cluster", groups=codes)
    assert [w.category for w in caught] == [InferenceWarning]
    assert "Only 10 clusters" in str(caught[0].message)
    assert str(other.summary()).count("Only 10 clusters") == 1


def test_groups_as_long_as_the_data_or_the_rows_kept(build: Callable[..., Any]) -> None:
    known, codes = whole(build(dropped=5))
    res = known.results()
    full = np.concatenate([np.full(5, 99), codes])
    a = res.get_robustcov_results("cluster", groups=codes)
    b = res.get_robustcov_results("cluster", groups=full)
    pd.testing.assert_frame_equal(a.cov_params(), b.cov_params())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cov_type": "nonrobust"}, OptionError, "HC1"),
        ({"cov_type": "HC3"}, OptionError, "Did you mean"),
        ({"cov_type": "cluster"}, OptionError, "needs groups"),
        ({"cov_type": "cluster", "groups": "firm"}, OptionError, r"data\['firm'\]"),
        ({"cov_type": "cluster", "groups": np.zeros(7)}, DataError, "400 rows"),
        ({"cov_type": "cluster", "groups": np.zeros(400)}, DataError, "has 1 cluster"),
    ],
)
def test_refusals(results: Results, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        results.get_robustcov_results(**arguments)
