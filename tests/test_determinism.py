"""One seed decides everything, and nothing outside a fit is touched."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml import simulate

QUICK = {"hidden": (4,), "epochs": 3}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return simulate.smooth(250, seed=2).data


def bits(res) -> list[np.ndarray]:
    pieces = [a for piece in res._fit.rows.repetitions for a in (piece.theta, piece.score, piece.lambda_inverse)]
    return [*pieces, res._fit.rows.folds, res.params.to_numpy(), res.cov_params().to_numpy()]


def same(one, two) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(bits(one), bits(two), strict=True))


@pytest.mark.parametrize("options", [{}, {"learner": "net", "n_folds": 10}, {"n_rep": 2, "ensemble": 2}], ids=str)
def test_the_same_seed_gives_the_same_bits(data, options):
    one, two = (dd.fit("y ~ t | x*", data, seed=5, **QUICK, **options) for _ in range(2))
    assert same(one, two)
    np.testing.assert_array_equal(one.predict(data), two.predict(data))


def test_nets_trained_to_the_end_give_the_same_bits(data):
    one, two = (dd.fit("y ~ t | x*", data, seed=5, hidden=(4,), learner="net") for _ in range(2))
    assert same(one, two)


@pytest.mark.parametrize("options", [{}, {"learner": "net"}], ids=str)
def test_another_seed_gives_other_folds_and_estimates(data, options):
    one, two = (dd.fit("y ~ t | x*", data, seed=seed, **QUICK, **options) for seed in (5, 6))
    assert (one._fit.rows.folds != two._fit.rows.folds).any()
    assert (one.params != two.params).all()


def test_without_a_seed_one_is_drawn_and_recorded(data):
    one, two = (dd.fit("y ~ t | x*", data, **QUICK) for _ in range(2))
    seeds = [res._fit.record.seed for res in (one, two)]
    assert all(isinstance(seed, int) for seed in seeds)
    assert seeds[0] != seeds[1]  # equal in one of four billion runs
    assert not same(one, two)
    assert same(one, dd.fit("y ~ t | x*", data, seed=seeds[0], **QUICK))


@pytest.mark.filterwarnings("ignore::deepdml.errors.FitWarning")  # a fit without seed may leave signal, or not
def test_global_generators_are_neither_read_nor_set(data):
    options = {"seed": 5, **QUICK}
    one = dd.fit("y ~ t | x*", data, **options)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  # the global state is what this test watches
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    two = dd.fit("y ~ t | x*", data, **options)
    dd.fit("y ~ t | x*", data, **QUICK)
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1][1], after[1][1])
    assert before[1][2:] == after[1][2:]
    assert torch.equal(before[2], after[2])
    assert same(one, two)


@pytest.mark.parametrize("n_jobs", [1, 2, None])
def test_the_number_of_threads_is_restored(data, n_jobs):
    before = torch.get_num_threads()
    res = dd.fit("y ~ t | 1", data, seed=5, n_jobs=n_jobs)  # no nets: threads that compete for cores are slow
    assert torch.get_num_threads() == before
    assert res._fit.record.threads == (before if n_jobs is None else n_jobs)


def test_the_number_of_threads_is_restored_after_an_error(data):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="lambda_"):
        dd.fit("y ~ t | x*", data, n_jobs=before + 1, lambda_="nothing")
    assert torch.get_num_threads() == before


def test_default_types_and_grad_mode_are_kept(data):
    dd.fit("y ~ t | x*", data, seed=5, **QUICK)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_the_data_are_not_changed(data):
    copy = data.copy(deep=True)
    dd.fit("y ~ t | x*", data, seed=5, **QUICK)
    pd.testing.assert_frame_equal(data, copy)


def test_importing_deepdml_imports_no_torch():
    code = (
        "import sys, deepdml as dd; dd.DeepDML; dd.fit; dd.structural_dml; dd.simulate; dd.load;"
        "model = dd.DeepDML('y ~ t | x*', dd.simulate.smooth(50, seed=1).data);"
        "assert model.exog_names == ['Intercept', 't'];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
