"""What every kind of estimand must satisfy; a new kind is covered by entering the registry and an example here."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.errors import OptionError
from deepdml.estimands import Estimand, Projection, Sample, Stack, UserFunction, from_dict, registered
from deepdml.estimands.averages import Averaged
from deepdml.learn.influence import DiscreteLaw
from deepdml.results.columns import UserColumns


def surplus(x, t, theta):
    """Depends on everything, smoothly."""
    eta = (t * theta[..., : t.shape[-1]]).sum(-1)
    return torch.stack([torch.log1p(torch.exp(0.5 * eta)), x[..., 0] * theta[..., 1] ** 2], dim=-1)


# estimand, family, treatment: each kind in the settings where its formulas differ
EXAMPLES: list[tuple[Estimand, str, str, str | None]] = [
    (dd.AverageCoefficient(), "logit", "continuous", None),
    (dd.AverageCoefficient(subset="treated"), "poisson", "binary", None),
    (dd.AverageCoefficient(subset="x0 > 0"), "logit", "binary", None),
    *[(dd.AverageMarginalEffect(), family, "continuous", None) for family in ("gaussian", "logit", "poisson")],
    *[(dd.AverageMarginalEffect(method=m), "logit", "continuous", None) for m in ("eyex", "dyex", "eydx")],
    (dd.AverageMarginalEffect(), "poisson", "continuous", "t + I(t**2)"),
    (dd.AverageMarginalEffect(method="eyex"), "logit", "continuous", "t + I(t**2)"),
    (dd.AverageMarginalEffect(method="dyex"), "poisson", "continuous", "np.exp(t)"),
    (dd.AverageMarginalEffect(), "logit", "binary", None),
    (dd.AverageMarginalEffect(dummy=True, method="eydx"), "logit", "binary", None),
    (dd.AverageMarginalEffect(subset="untreated"), "logit", "binary", None),
    (dd.AverageMarginalEffect(), "poisson", "arms", None),
    (dd.AverageMarginalEffect(), "logit", "two", None),
    (dd.AverageMarginalEffect(subset="x1 < 0.5"), "logit", "continuous", None),
    (dd.AverageMarginalEffect(at="zero"), "poisson", "arms", None),
    (dd.AverageMarginalEffect(atexog={"b": 1}), "logit", "two", None),
    (dd.AverageMarginalEffect(atexog={"a": 0.4, "b": 1}, method="eyex"), "logit", "two", None),
    (dd.AverageMarginalEffect(atexog={"t": 1.4}, subset="x0 > 0"), "poisson", "continuous", "t + I(t**2)"),
    (dd.Elasticity(), "gaussian", "continuous", None),
    (dd.Elasticity(), "poisson", "two", None),
    *[(dd.Contrast("t", 1, 0, kind), "logit", "binary", None) for kind in ("difference", "ratio", "log ratio")],
    (dd.Contrast("t", 1, 0, "odds ratio", subset="treated"), "logit", "binary", None),
    *[(dd.Contrast("t", 1, 0, subset=who), "poisson", "binary", None) for who in ("treated", "untreated")],
    (dd.Contrast("arm", "c", "b", subset="treated"), "logit", "arms", None),
    (dd.Contrast("a", 1, 0), "logit", "two", None),
    (dd.Contrast("a", 1, 0, subset="treated"), "logit", "two", None),
    (dd.Contrast("t", 2.0, 1.0), "poisson", "continuous", "t + I(t**2)"),
    (dd.DoseResponse("t", [1.0, 1.5, 2.0]), "logit", "continuous", None),
    (dd.DoseResponse("arm", ["a", "c"], subset="x0 > 0"), "poisson", "arms", None),
    (dd.ConsumerWelfare("t", 2.0, 1.0), "logit", "continuous", None),
    (dd.Profit("t", [1.0, 2.0], cost=0.5), "poisson", "continuous", None),
    (dd.OptimalPrice("t", 0.7, 2.3, cost=1.0), "gaussian", "continuous", "I(-10 * t)"),
    (dd.IncidenceRateRatio("t"), "poisson", "binary", None),
    (dd.OddsRatio("t", subset="treated"), "logit", "binary", None),
    (dd.WillingnessToPay(["a", "a:b"], "b"), "logit", "two", None),
    (dd.TailProbability([0, 2]), "poisson", "continuous", None),
    (dd.TailProbability(0, column="t", value=1, subset="treated"), "logit", "binary", None),
    (dd.ConditionalVariance(), "poisson", "binary", None),
    (dd.ConditionalVariance(column="t", value=2.0), "logit", "continuous", None),
    (dd.ConditionalQuantile([0.2, 0.7]), "weibull", "continuous", None),
    (dd.ConditionalQuantile(0.9, column="t", value=1, against=0), "gamma", "binary", None),
    (dd.ConditionalQuantile(0.4, column="t", value=1, subset="treated"), "beta", "binary", None),
    (dd.ConditionalQuantile(0.3), "gumbel", "two", None),
    (dd.TailProbability(1.0, column="t", value=1, against=0), "gaussian_scale", "binary", None),
    (dd.ChoiceProbability(), "logit", "binary", None),
    (dd.ChoiceProbability(1, column="arm", value="b"), "logit", "arms", None),
    (UserFunction(surplus, "surplus"), "logit", "continuous", None),
    (UserFunction(surplus, "surplus", subset="treated"), "poisson", "binary", None),
]
IDS = [f"{e.name}-{family}-{kind}-{j}" for j, (e, family, kind, _) in enumerate(EXAMPLES)]

each = pytest.mark.parametrize(("estimand", "family", "kind", "formula"), EXAMPLES, ids=IDS)


def test_every_kind_has_an_example() -> None:
    assert {e.name for e, *_ in EXAMPLES} == set(registered()) - {Stack.name, Projection.name}


def sample_of(results: Any, **changes: Any) -> Sample:
    fit = results._fit
    columns = UserColumns(fit, results._model.user_data)
    piece = fit.rows.repetitions[0]
    sample = Sample(fit.rows.t, fit.theta_names, piece.theta, piece.law, fit.family, columns.interventions, columns)
    return replace(sample, **changes) if changes else sample


def at_node(known: Any, node: int, n: int) -> tuple[Sample, np.ndarray]:
    """The same rows with the first n structural rows at a node of their law, and the weights of the node.

    The variables behind the structural rows go with them; the rows after the first n keep every level in the data.
    """
    fit, frame = known.results._fit, known.frame.copy()
    law = fit.rows.repetitions[0].law
    rows, weights = law.nodes(slice(0, n))
    name = fit.design.treatments.reads
    if isinstance(law, DiscreteLaw):
        like = int(np.flatnonzero((fit.rows.t == rows[0, node]).all(axis=1))[0])
        for column in name:
            frame.loc[: n - 1, column] = frame[column].iloc[like]
    else:
        frame.loc[: n - 1, "t"] = (law.mean + law.scale * law.residuals[node])[:n]
    t = fit.design.encode_treatments(frame)
    treatment = None if fit.rows.treatment is None else frame[list(name)].to_numpy(float)
    moved = replace(fit, rows=replace(fit.rows, t=t, treatment=treatment))
    columns = UserColumns(moved, frame)
    piece = fit.rows.repetitions[0]
    sample = Sample(t, fit.theta_names, piece.theta, law, fit.family, columns.interventions, columns)
    return sample, np.broadcast_to(weights, (n, weights.shape[1]))[:, node]


@each
@pytest.mark.filterwarnings("ignore:.*lies outside the data:deepdml.errors.InferenceWarning")
def test_the_gradient_is_the_conditional_mean_of_its_slope(known, estimand, family, kind, formula) -> None:
    """By central differences of H at every node of the law, weighted by its probabilities."""
    n, h = 40, 1e-5
    draw = known(family, kind, n=3_000 if formula else 200, formula=formula)
    found = estimand.evaluate(sample_of(draw.results)).gradient[:n]
    law = draw.results._fit.rows.repetitions[0].law
    expected = np.zeros_like(found)
    inside = np.ones(n, bool)
    for node in range(law.nodes(slice(0, 1))[1].shape[1]):
        sample, weights = at_node(draw, node, n)
        if not isinstance(law, DiscreteLaw):
            reach = (law.mean + law.scale * law.residuals[node])[:n]
            inside &= (reach >= draw.frame["t"].min()) & (reach <= draw.frame["t"].max())
        for k in range(found.shape[2]):
            step = h * np.eye(found.shape[2])[k]
            up, down = (estimand.evaluate(replace(sample, theta=sample.theta + s * step)).values[:n] for s in (1, -1))
            expected[:, :, k] += weights[:, None] * (up - down) / (2 * h)
    # a curved map of the dose is interpolated between some 2,000 observed doses, and ends where they end
    curved = formula is not None and kind == "continuous"
    rows = inside if curved else np.ones(n, bool)
    assert rows.sum() > n / 2
    # central differences: h squared and rounding over h; interpolation of a curve: the square of the doses' spacing
    tolerance = 1e-3 if curved else 2e-7
    np.testing.assert_allclose(found[rows], expected[rows], atol=tolerance * np.abs(expected).max())


@each
@pytest.mark.filterwarnings("ignore:.*lies outside the data:deepdml.errors.InferenceWarning")
@pytest.mark.filterwarnings("ignore:.*covers zero:deepdml.errors.InferenceWarning")
class TestContract:
    def test_the_jacobian_is_the_derivative_of_the_function_of_means(self, known, estimand, family, kind, formula):
        evaluation = estimand.evaluate(sample_of(known(family, kind, formula=formula).results))
        means = evaluation.values.mean(axis=0)
        combined = estimand.combine(means)
        if combined is None:
            return
        h = 1e-6
        for j in range(len(means)):
            up, down = (estimand.combine(means + s * h * np.eye(len(means))[j])[0] for s in (1, -1))
            # central differences: rounding over h
            np.testing.assert_allclose(combined[1][:, j], (up - down) / (2 * h), rtol=1e-6, atol=1e-7)

    def test_labels_and_shapes_agree(self, known, estimand, family, kind, formula):
        draw = known(family, kind, formula=formula)
        res = draw.results.estimate(estimand)
        assert res.params.notna().all()
        assert (res.bse > 0).all()
        assert res.psi.shape == (400, len(res.params))
        np.testing.assert_allclose(res.psi.mean(), res.params, rtol=1e-10, atol=1e-12)  # rounding of a mean
        assert len(set(res.params.index)) == len(res.params)
        for label in res.params.index:
            assert res.t_test(f"{label} = 0").effect[0] == pytest.approx(res.params[label])

    def test_weights_are_repetitions_of_rows(self, known, estimand, family, kind, formula):
        """Estimates under integer weights are those of the psi of repeated rows."""
        draw = known(family, kind, formula=formula, weights=True)
        plain = known(family, kind, formula=formula)
        res, other = draw.results.estimate(estimand), plain.results.estimate(estimand)
        assert (abs(res.params - other.params) < 3 * other.bse).all()
        weights = draw.results._fit.rows.weights
        # rounding of a mean
        np.testing.assert_allclose(weights @ res.psi.to_numpy() / weights.sum(), res.params, rtol=1e-9, atol=1e-11)

    def test_it_survives_json_pickle_and_files(self, known, estimand, family, kind, formula, tmp_path):
        again = from_dict(estimand.to_dict())
        assert type(again) is type(estimand)
        assert again.to_dict() == estimand.to_dict()
        assert pickle.loads(pickle.dumps(estimand)).to_dict() == estimand.to_dict()
        res = known(family, kind, formula=formula).results.estimate(estimand)
        res.save(tmp_path / "a")
        loaded = dd.load(tmp_path / "a")
        assert str(loaded.summary()) == str(res.summary())
        pd.testing.assert_frame_equal(loaded.psi, res.psi)

    def test_a_loaded_fit_gives_the_same_estimates(self, known, estimand, family, kind, formula, tmp_path):
        draw = known(family, kind, formula=formula)
        draw.results.save(tmp_path / "a")
        res, loaded = draw.results.estimate(estimand), dd.load(tmp_path / "a")
        context = {"np": np} if formula and "np" in formula else None
        # rounding: arrays are laid out otherwise after loading
        again = loaded.estimate(estimand, data=draw.frame, context=context)
        pd.testing.assert_series_equal(again.params, res.params, rtol=1e-12)
        pd.testing.assert_frame_equal(again.cov_params(), res.cov_params(), rtol=1e-9)


def test_unstored_parts_say_so(known) -> None:
    draw = known("logit", "binary")
    mask = draw.frame["x0"].to_numpy() > 0
    for estimand in (UserFunction(surplus), dd.Contrast("t", 1, 0, subset=mask)):
        with pytest.raises(OptionError, match="not kept in a file"):
            draw.results.estimate(from_dict(estimand.to_dict()))


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(OptionError, match="Did you mean 'contrast'"):
        from_dict({"estimand": "contrst"})


def test_the_base_class_asks_for_its_parts() -> None:
    for call in (lambda: Estimand().evaluate(None), lambda: Averaged().parts(None), lambda: Estimand().labels(None, 1)):
        with pytest.raises(NotImplementedError):
            call()
