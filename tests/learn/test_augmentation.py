"""Views that leave the outcome as it is: nets are pulled toward the same theta for both, as far as that pays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.errors import OptionError
from deepdml.learn import augmentation, heads
from deepdml.learn.augmentation import Views
from deepdml.learn.backbones import Perceptron
from deepdml.learn.heads import HeadFeatures, refit_heads
from deepdml.learn.training import NetGroup, Schedule, TrainedGroup, _Loop, least_loss, train

pytestmark = pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # of samples this small


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Redraw all covariates but the first two."""
    seen = x.copy()
    seen[:, 2:] = rng.standard_normal(seen[:, 2:].shape)
    return seen


def same(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x


def group(p, alpha: float, name: str = "outcome") -> NetGroup:
    task = getattr(p.problem, name)
    units = p.units(task)
    start = torch.zeros(p.scheme.n_nets, 1 + p.problem.x.shape[1], task.n_out)
    return NetGroup("silu", task, Perceptron(3, (6, 4), task.n_out, "silu"), units, start, 1.0, alpha)


def trained_for(p, *alphas: float, augment=noisy) -> list[TrainedGroup]:
    groups = [group(p, alpha) for alpha in alphas]
    schedule = Schedule(5e-3, 64, 100, 100)
    return train(p.inputs, groups, p.scheme, schedule, np.random.SeedSequence(3), lambda *at: None, augment)


class TestViews:
    def test_each_net_has_its_own_generator(self):
        x = torch.randn(1, 8, 3).repeat(3, 1, 1)
        all_three = Views(noisy, 3, np.random.SeedSequence(1)).of(x, torch.arange(3))
        assert (all_three[0] != all_three[1]).any()
        two = Views(noisy, 3, np.random.SeedSequence(1)).of(x[1:], torch.tensor([1, 2]))
        assert torch.equal(two, all_three[1:])

    def test_a_function_that_changes_its_argument_changes_no_data(self, posed):
        def careless(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            x += 1
            return x

        p = posed()
        before = p.inputs.x.clone()
        seen = p.inputs.view_of_all(careless, np.random.default_rng(1))
        assert torch.equal(p.inputs.x, before)
        torch.testing.assert_close(seen.x, before + 1)

    @pytest.mark.parametrize(
        ("augment", "message"),
        [
            (lambda x, rng: x[:, :1], r"shape \(400, 1\) for covariates of shape \(400, 3\)"),
            (lambda x, rng: x / 0 * 0, "not finite"),
            (lambda x, rng: x.astype(str), "not finite numbers"),
        ],
        ids=["columns", "nan", "text"],
    )
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_what_is_no_view(self, posed, augment, message):
        with pytest.raises(OptionError, match=message):
            posed().inputs.view_of_all(augment, np.random.default_rng(1))


class TestTraining:
    def test_the_gradient_is_that_of_loss_and_change(self, posed):
        p = posed()
        groups = [group(p, 0.0), group(p, 2.0)]
        loop = _Loop(p.inputs, groups, p.scheme, Schedule(5e-3, 64, 1, 1), np.random.SeedSequence(1))
        generator = torch.Generator().manual_seed(5)
        flat = torch.randn(loop.flat.shape, generator=generator)
        rows = torch.randint(400, (p.scheme.n_nets, 64), generator=generator)
        x = p.inputs.standardized(torch.arange(p.scheme.n_nets), rows)
        seen = x + torch.randn(x.shape, generator=generator)
        active = torch.arange(len(loop.group))
        found = loop._gradient(flat, loop._runs(active, torch.arange(p.scheme.n_nets)), rows, x, seen)
        backbone, s = groups[0].backbone, p.scheme.n_nets
        for i, g in enumerate(groups):
            for net in range(s):
                own = flat[i * s + net][None].clone().requires_grad_()
                units = g.units.select(torch.tensor([net]))
                out, other = backbone.forward(own, x[net : net + 1]), backbone.forward(own, seen[net : net + 1])
                loss = g.task.loss(out, rows[net : net + 1], units).mean()
                loss = loss + g.alpha / 2 * (out - other).square().sum(2).mean()
                (expected,) = torch.autograd.grad(loss, own)
                torch.testing.assert_close(found[i * s + net], expected[0], rtol=1e-4, atol=1e-5)  # single precision

    def test_nets_that_differ_in_alpha_start_alike(self, posed):
        p = posed()
        groups = [group(p, 0.0), group(p, 1.0), group(p, 0.0)]
        loop = _Loop(p.inputs, groups, p.scheme, Schedule(5e-3, 64, 1, 1), np.random.SeedSequence(1))
        one, two, three = loop.flat.view(3, p.scheme.n_nets, -1)
        assert torch.equal(one, two)
        assert (one != three).any()

    def test_a_larger_alpha_makes_theta_change_less(self, posed):
        p = posed(wave=1.0)
        nets = torch.arange(p.scheme.n_nets)
        seen = p.inputs.view_of_all(noisy, np.random.default_rng(1))
        every = torch.arange(400).expand(len(nets), -1)
        changes = []
        for trained in trained_for(p, 0.0, 1.0, 100.0):
            parameters = trained.parameters[[int(np.flatnonzero(p.scheme.net == net)[0]) for net in nets]]
            out, other = (
                trained.group.backbone.forward(parameters, inputs.standardized(nets, every))
                for inputs in (p.inputs, seen)
            )
            changes.append(float((out - other).square().mean()))
        assert changes[0] > 2 * changes[1] > 4 * changes[2]

    def test_each_snapshot_takes_the_alpha_of_least_loss(self, posed):
        trained = trained_for(posed(wave=1.0), 0.0, 1.0, 10.0)
        chosen = least_loss(trained)
        losses = torch.stack([each.loss for each in trained])
        assert torch.equal(chosen.loss, losses.min(0).values)
        for v, best in enumerate(losses.argmin(0).tolist()):
            assert torch.equal(chosen.parameters[v], trained[best].parameters[v])
            assert chosen.alpha[v] == (0.0, 1.0, 10.0)[best]
            assert chosen.steps[v] == trained[best].steps[v]
        assert len(set(chosen.alpha.tolist())) > 1  # or the choice would not have been one


def test_refit_heads_keep_the_pull(posed, monkeypatch):
    """Each is the ridge regression with the squared change between the views as a second penalty."""
    monkeypatch.setattr(heads, "PENALTIES", (1e-2,))
    p = posed(learner="net", n_folds=10)
    trained = trained_for(p, 0.0, 5.0)[1]
    fold = torch.from_numpy(p.plan.fold)
    seen = p.inputs.view_of_all(noisy, np.random.default_rng(1))
    out, _ = refit_heads([trained], p.inputs, p.scheme, fold, p.plan.fold_block, seen)
    task = trained.group.task
    for k, a in enumerate(p.plan.fold_block):
        v = int(p.scheme.snapshots_of(a)[0])
        net = int(p.scheme.net[v])
        f, g = (HeadFeatures.of([trained], i, v, net)[torch.arange(400)].double() for i in (p.inputs, seen))
        units = trained.group.units.select(torch.tensor([net]))
        parts = trained.group.backbone.split(trained.parameters[v : v + 1])
        start = torch.cat([parts[-2][0], parts[-3][0], parts[-1][0]]).double()
        rows = torch.nonzero(fold != k)[:, 0]
        change = (f - g)[rows]
        gradient, curvature = task.derivatives((f[rows] @ start)[None], rows[None], units)
        size = start.numel()
        hessian = torch.einsum("noq,nf,ng->ofqg", curvature[0], f[rows], f[rows]).reshape(size, size)
        hessian += 5 * torch.block_diag(*[change.T @ change] * task.n_out)
        slope = (f[rows].T @ gradient[0] + 5 * change.T @ (change @ start)).T.reshape(-1)
        ridge = 1e-2 * hessian.diagonal().mean() * torch.eye(size).double()
        head = start - torch.linalg.solve(hessian + ridge, slope).view(task.n_out, -1).T
        expected = task.to_common((f[fold == k] @ head)[None], units)[0]
        torch.testing.assert_close(out[fold == k], expected, rtol=1e-3, atol=1e-4)  # hessians in single precision


def frame(n: int, p: int, family: str = "gaussian", seed: int = 0) -> pd.DataFrame:
    """Theta depends on the first two of p covariates."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    t = 0.5 * x[:, 0] + rng.standard_normal(n)
    eta = 0.5 * x[:, 0] + (0.5 + 0.5 * np.tanh(x[:, 1])) * t
    noise = rng.standard_normal(n)
    y = eta + noise if family == "gaussian" else (eta + noise > 0) * 1.0
    return pd.DataFrame({"y": y, "t": t, **{f"x{j}": x[:, j] for j in range(p)}})


class TestFits:
    def test_a_view_that_is_the_row_itself_changes_not_a_bit(self):
        data = frame(300, 3)
        options = {"learner": "net", "hidden": (4,), "epochs": 20, "seed": 1}
        one, two = (dd.fit("y ~ t | x*", data, augment=augment, **options) for augment in (None, same))
        np.testing.assert_array_equal(one.theta, two.theta)
        assert two._fit.record.nuisances[0].alpha == {"silu net": 0.0}
        assert two.diagnostics.to_frame()["alpha"].to_list() == ["silu net 0.0", "", ""]
        assert one._fit.record.nuisances[0].alpha == {}
        assert "alpha" not in one.diagnostics.to_frame()

    @pytest.mark.parametrize(("family", "share"), [("gaussian", 0.5), ("probit", 1.0)])
    def test_what_views_say_is_irrelevant_is_learned_to_be(self, family, share):
        """With 20 covariates that a view redraws theta moves less, and is nearer the truth.

        Binary outcomes say little, nets stop early, and what is left of their linear start moves theta still.
        """
        data, options = frame(800, 22, family), {"learner": "net", "seed": 1}
        one, two = (dd.fit("y ~ t | x*", data, family, augment=a, **options) for a in (None, noisy))
        assert two._fit.record.nuisances[0].alpha["silu net"] > 0
        x = data.filter(like="x").to_numpy()
        other = data.copy()
        other[[f"x{j}" for j in range(22)]] = noisy(x, np.random.default_rng(5))
        moves = [
            (res.predict(data, which="theta") - res.predict(other, which="theta")).abs().to_numpy().mean()
            for res in (one, two)
        ]
        assert moves[1] < share * moves[0]
        errors = [float(((res.theta["t"] - 0.5 - 0.5 * np.tanh(data["x1"])) ** 2).mean()) for res in (one, two)]
        assert errors[1] < errors[0]

    @pytest.mark.parametrize("learner", ["auto", "net"])
    def test_no_row_is_predicted_from_its_own_outcome(self, learner):
        data = frame(160, 4)
        quick = {"seed": 3, "epochs": 40, "hidden": (4,), "learner": learner, "augment": noisy}
        one = dd.fit("y ~ t | x*", data, **quick)
        two = dd.fit("y ~ t | x*", data.assign(y=data["y"] + 1e3 * (np.arange(160) == 7)), **quick)
        mine = one._fit.rows.folds[0] == one._fit.rows.folds[0, 7]
        np.testing.assert_array_equal(one.theta[mine], two.theta[mine])
        assert (one.theta[~mine] != two.theta[~mine]).any(axis=None)

    def test_the_treatment_model_is_left_alone(self, monkeypatch):
        """A view leaves the outcome as it is; the treatment may well depend on what it changes."""
        data = frame(300, 3)
        options = {"learner": "net", "hidden": (4,), "epochs": 20, "seed": 1}
        monkeypatch.setattr(augmentation, "ALPHAS", (0.0, 1e3))
        one, two = (dd.fit("y ~ t | x*", data, augment=augment, **options) for augment in (None, noisy))
        np.testing.assert_array_equal(*(res._fit.rows.repetitions[0].law.mean for res in (one, two)))

    def test_a_saved_fit_keeps_what_was_chosen(self, tmp_path):
        res = dd.fit("y ~ t | x*", frame(200, 4), learner="net", seed=1, epochs=20, augment=noisy)
        res.save(tmp_path / "fit.deepdml")
        assert dd.load(tmp_path / "fit.deepdml")._fit.record == res._fit.record

    def test_no_function(self):
        with pytest.raises(OptionError, match=r"augment='noise' is not a function"):
            dd.fit("y ~ t | x*", frame(200, 4), augment="noise")
