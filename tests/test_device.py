"""Fits on a graphics card; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deepdml as dd
from deepdml import simulate

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
@pytest.mark.parametrize("learner", ["auto", "net"])
@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
def test_cuda_agrees_with_the_processor(family, learner):
    sim = simulate.smooth(1_500, seed=1, family=family)
    one, other = (dd.fit(sim.formula, sim.data, family, learner=learner, seed=1, device=d) for d in ("cpu", "cuda"))
    # the same nets from the same seeds, rounded differently: far closer than a standard error
    assert np.abs((one.params - other.params) / one.bse).max() < 0.3
    np.testing.assert_allclose(other.predict(sim.data.head(5)), one.predict(sim.data.head(5)), rtol=0.2, atol=0.2)


@needs_cuda
def test_binary_treatment_on_cuda():
    sim = simulate.binary(1_500, seed=1)
    res = dd.fit(sim.formula, sim.data, seed=1, device="cuda")
    assert ((res.params - sim.oracle_psi.mean(0)) / res.bse).abs().max() < 1.5
    assert res.diagnostics is not None
