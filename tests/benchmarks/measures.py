"""What is measured. Each measure runs in a process of its own, on one thread, and prints one line of JSON.

    python tests/benchmarks/measures.py NAME '{"keyword": value}'

The arrays come from a file that `draw` wrote, so that deepdml and deep-inference see the same rows, and generating them
does not count towards anybody's time or memory.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy and torch are imported

import numpy as np  # noqa: E402 -- reads the number of threads when imported

PEER_FAMILY = {"gaussian": "linear"}


def draw(path: str, design: str, n: int, seed: int, p: int = 0) -> dict[str, Any]:
    """Write the arrays of a design of deepdml.simulate, with pure noise columns up to p covariates."""
    from deepdml import simulate

    drawn = getattr(simulate, design)(n=n, seed=seed)
    x = drawn.data.iloc[:, 2:].to_numpy(np.float32)
    if p > x.shape[1]:
        noise = np.random.default_rng([seed, p]).standard_normal((n, p - x.shape[1]), dtype=np.float32)
        x = np.hstack([x, noise])
    y, t = drawn.data.iloc[:, 0].to_numpy(), drawn.data.iloc[:, 1].to_numpy()
    mean = list(drawn.truth.values())[1]
    np.savez(path, y=y, t=t, x=x, beta=drawn.theta[:, 1], truth=mean, oracle=drawn.oracle_psi[:, 1].mean())
    return {"n": n, "p": x.shape[1], "largest_y": float(y.max())}


def _import_all() -> None:
    """Import what a fit does, so that no import is timed; the peer's modules are imported before its clock, too."""
    for layer in ("results", "learn.fitting"):
        importlib.import_module(f"deepdml.{layer}")


def ours(path: str, family: str, seed: int = 1, **options: Any) -> dict[str, Any]:
    """Time `deepdml.fit` from a DataFrame to Results; `options` are those of fit."""
    import pandas as pd
    import torch

    import deepdml

    _import_all()
    torch.set_num_threads(1)
    drawn = np.load(path)
    covariates = pd.DataFrame(drawn["x"], columns=[f"emb_{j}" for j in range(drawn["x"].shape[1])])
    data = pd.concat([pd.DataFrame({"y": drawn["y"], "t": drawn["t"]}), covariates], axis=1)
    size = drawn["x"].nbytes
    if "hidden" in options:
        options["hidden"] = tuple(options["hidden"])
    clock, cpu = time.perf_counter(), time.process_time()
    results = deepdml.fit("y ~ t | emb_*", data, family=family, seed=seed, progress=False, **options)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    beta = results.theta["t"].to_numpy()
    estimate, error = float(results.params["t"]), float(results.bse["t"])
    return accuracy(drawn, beta, estimate, error) | {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "covariate_bytes": size,
        "peak_bytes": peak_memory(),
    }


def peer(path: str, family: str, seed: int = 1, **options: Any) -> dict[str, Any]:
    """Time `deep_inference.structural_dml` on the same arrays."""
    import warnings
    from importlib.metadata import version

    import torch
    from deep_inference import structural_dml

    warnings.simplefilter("ignore")  # what it warns of is no part of the measurement
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- deep-inference draws its folds from the global generator
    drawn = np.load(path)
    arrays = drawn["y"], drawn["t"], drawn["x"]
    clock, cpu = time.perf_counter(), time.process_time()
    result = structural_dml(*arrays, family=PEER_FAMILY.get(family, family), **options)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    epochs = [len(history.train_losses) for history in result.diagnostics["histories"]]
    return accuracy(drawn, result.theta_hat[:, 1], float(result.mu_hat), float(result.se)) | {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak_memory(),
        "mean_epochs": float(np.mean(epochs)),
        "version": f"deep-inference {version('deep-inference')}",
    }


def doubleml(path: str, model: str, seed: int = 1) -> dict[str, Any]:
    """Time DoubleML's "IRM" or "PLR" with scikit-learn's nets on the same arrays: five folds, the score of its default.

    The nets have layers (64, 32) and stop early; covariates, and the outcome, are standardized for them.
    """
    import warnings
    from importlib.metadata import version

    from doubleml import DoubleMLData, DoubleMLIRM, DoubleMLPLR
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    warnings.simplefilter("ignore")  # of nets that reach their last epoch: no part of the measurement
    np.random.seed(seed)  # noqa: NPY002 -- DoubleML draws its folds from the global generator
    drawn = np.load(path)
    settings = {"hidden_layer_sizes": (64, 32), "early_stopping": True, "max_iter": 500, "random_state": seed}
    net = make_pipeline(StandardScaler(), MLPRegressor(**settings))
    regressor = TransformedTargetRegressor(net, transformer=StandardScaler())
    classifier = make_pipeline(StandardScaler(), MLPClassifier(**settings))
    data = DoubleMLData.from_arrays(x=drawn["x"].astype(float), y=drawn["y"], d=drawn["t"])
    clock = time.process_time()
    if model == "IRM":
        fitted = DoubleMLIRM(data, ml_g=regressor, ml_m=classifier, n_folds=5).fit()
    else:
        fitted = DoubleMLPLR(data, ml_l=regressor, ml_m=regressor, n_folds=5).fit()
    seconds = time.process_time() - clock
    estimate, error = float(fitted.coef[0]), float(fitted.se[0])
    return {
        "estimate": estimate,
        "se": error,
        "rmse": float("nan"),
        "cpu_seconds": seconds,
        "version": f"DoubleML {version('doubleml')}",
    }


def family_time(design: str, n: int, p: int, seed: int, law: str = "", family: str = "") -> dict[str, Any]:
    """Time a default fit of a design beside a poisson fit of as many rows, of the counts of `outcome` or the same ones.

    Pure noise columns are added up to p covariates. The two fits stand next to each other, so that a busy machine slows
    both, and the seconds are of processor time.

    Parameters
    ----------
    law : str
        Family of the draw, for a design that has several.
    family : str
        Family of the fit, if not that of the draw; poisson then fits the same counts.
    """
    import warnings

    import torch

    from deepdml import simulate
    from deepdml.errors import DeepDMLWarning

    _import_all()
    warnings.simplefilter("ignore", DeepDMLWarning)
    torch.set_num_threads(1)
    drawn = getattr(simulate, design)(n=n, seed=seed, **({"family": law} if law else {}))
    counts = drawn if family else simulate.outcome(n=n, seed=seed, family="negbin")
    return {
        "family": family or drawn.family,
        "poisson": _fit_seconds(counts, "poisson", p, seed),
        "seconds": _fit_seconds(drawn, family or drawn.family, p, seed),
    }


def _fit_seconds(drawn: Any, family: str, p: int, seed: int) -> float:
    """Return the processor time of a default fit with noise columns up to p covariates."""
    import pandas as pd

    import deepdml

    n, known = len(drawn.data), sum(name.startswith(("x_", "emb_")) for name in drawn.data)
    noise = np.random.default_rng([seed, p]).standard_normal((n, max(p - known, 0)), dtype=np.float32)
    data = pd.concat([drawn.data, pd.DataFrame(noise, columns=[f"x_{j}" for j in range(known, p)])], axis=1)
    clock = time.process_time()
    deepdml.fit(drawn.formula, data, family, seed=seed, progress=False)
    return time.process_time() - clock


def estimand_time(family: str, n: int, seed: int, **options: Any) -> dict[str, Any]:
    """Time new estimands on a fit with a continuous treatment, in seconds of processor time.

    `options` are those of fit. The treatment and its log-linear effect are those of `simulate.smooth`; gamma outcomes
    have shape 2. A spline of the treatment stands in a fit of its own.
    """
    import warnings

    import torch

    import deepdml
    from deepdml import simulate
    from deepdml.errors import DeepDMLWarning

    _import_all()
    warnings.simplefilter("ignore", DeepDMLWarning)
    torch.set_num_threads(1)
    drawn = simulate.smooth(n=n, seed=seed, family=family if family in ("logit", "poisson") else "gaussian")
    data, rng = drawn.data, np.random.default_rng([seed, 1])
    eta = 0.5 * (drawn.theta[:, 0] + drawn.theta[:, 1] * data["t"].to_numpy())
    if family == "gamma":
        data = data.assign(y=np.exp(eta) * rng.gamma(2.0, 0.5, n))
    if family == "mnlogit":
        utilities = np.column_stack([0.0 * eta, eta, -eta]) + rng.gumbel(size=(n, 3))
        data = data.assign(y=np.array(["a", "b", "c"])[utilities.argmax(axis=1)])
    asked: dict[str, Any] = {"AverageMarginalEffect": deepdml.AverageMarginalEffect()}
    asked |= {"Elasticity": deepdml.Elasticity(), "ConditionalVariance": deepdml.ConditionalVariance()}
    asked |= {"DoseResponse, ten doses": deepdml.DoseResponse("t", np.linspace(-1, 1, 10))}
    if family == "gamma":
        asked |= {
            "TailProbability": deepdml.TailProbability(1.0),
            "ConditionalQuantile": deepdml.ConditionalQuantile(0.5),
        }
    if family == "mnlogit":
        asked = {"ChoiceProbability of a level": deepdml.ChoiceProbability("b")}
    seconds = {}
    for left in ("t", "bs(t, df=4)"):
        results = deepdml.fit(f"y ~ {left} | x_*", data, family, seed=seed, progress=False, **options)
        for name, estimand in asked.items():
            clock = time.process_time()
            results.estimate(estimand)
            seconds[f"{name}, y ~ {left}"] = time.process_time() - clock
    return {"family": family, "seconds": seconds}


def conversion(n: int = 50_000, p: int = 768, seed: int = 1) -> dict[str, Any]:
    """Time the way from a DataFrame of float32 columns to the arrays of a fit: the best of five models."""
    import pandas as pd

    import deepdml

    rng = np.random.default_rng(seed)
    covariates = pd.DataFrame(rng.standard_normal((n, p), dtype=np.float32), columns=[f"emb_{j}" for j in range(p)])
    data = pd.concat([pd.DataFrame(rng.standard_normal((n, 2)), columns=["y", "t"]), covariates], axis=1)
    _ = deepdml.DeepDML("y ~ t | emb_*", data.head(100)).arrays  # imports and first calls
    times = []
    for _ in range(5):
        clock = time.perf_counter()
        _ = deepdml.DeepDML("y ~ t | emb_*", data).arrays
        times.append(time.perf_counter() - clock)
    return {"n": n, "p": p, "seconds": min(times)}


def loop_speed(batch: int = 256, rounds: int = 8) -> dict[str, Any]:
    """Compare the training loop with a bare batched matrix product of the same shapes, in one process on one thread.

    `loop` is the seconds a step of the training loop takes in the seed setting, hidden (128, 64): drawing minibatches,
    forward, loss, backward, optimizer step and averaging. `bare` is the seconds of the products alone that such a step
    cannot avoid. Both are measured in alternation, so that a busy machine slows both, and the medians are compared.

    Returns
    -------
    dict with `loop`, `bare` (seconds a step), `flops` (of the products, a step) and `shapes`.
    """
    import torch

    from deepdml import DeepDML, simulate
    from deepdml.design.splits import make_plan
    from deepdml.learn import nuisances, problem, scheme, training
    from deepdml.learn.inputs import Inputs

    torch.set_num_threads(1)
    drawn = simulate.wages(seed=1)
    model = DeepDML(drawn.formula, drawn.data)
    options = problem.LearnOptions(hidden=(128, 64))
    posed = problem.pose(model.arrays, model.family, options)
    nested = scheme.paired(make_plan(len(posed.x), 5, rng=np.random.default_rng(1)), np.random.default_rng(1))
    inputs = Inputs.over_training_rows(posed.x, nested)
    setting = nuisances.Setting(posed, None, nested, inputs, options, None)  # type: ignore[arg-type]  # no folds here
    groups = nuisances._groups(*nuisances.begin(setting))
    schedule = training.Schedule(4e-3, batch, 1, 10**9)
    loop = training._Loop(inputs, groups, nested, schedule, np.random.SeedSequence(1))
    active = torch.arange(len(loop.group))
    state = [loop.flat, loop.flat.clone(), torch.zeros_like(loop.flat), torch.zeros_like(loop.flat)]
    bare, flops = _bare_products(groups, nested.n_nets, batch)
    times: dict[str, list[float]] = {"loop": [], "bare": []}
    step = loop._steps(0, active, *state)  # warm-up
    for _ in range(rounds):
        clock = time.perf_counter()
        step = loop._steps(step, active, *state)
        times["loop"].append((time.perf_counter() - clock) / training.CHECK)
        clock = time.perf_counter()
        for _ in range(training.CHECK):
            bare()
        times["bare"].append((time.perf_counter() - clock) / training.CHECK)
    shapes = f"{len(groups)} x {nested.n_nets} nets, batch {batch}, {posed.x.shape[1]}-128-64"
    return {name: float(np.median(value)) for name, value in times.items()} | {"flops": flops, "shapes": shapes}


def _bare_products(groups: list[Any], nets: int, batch: int) -> tuple[Callable[[], None], float]:
    """Return the products of one step, forward and backward, and their floating-point operations."""
    import torch

    pairs = []
    for group in groups:
        backbone = group.backbone
        widths = (backbone.n_in, *backbone.hidden, backbone.n_out)
        shapes = [*pairwise(widths), (backbone.n_in, backbone.n_out)]
        inner = [False, *[True] * (len(widths) - 2), False]  # whether the layer passes a gradient on to its inputs
        pairs += [
            (torch.randn(nets, batch, a), torch.randn(nets, a, b), torch.randn(nets, batch, b), passes)
            for (a, b), passes in zip(shapes, inner, strict=True)
        ]

    def bare() -> None:
        for x, weights, gradient, passes in pairs:
            torch.bmm(x, weights)
            torch.bmm(x.transpose(1, 2), gradient)
            if passes:
                torch.bmm(gradient, weights.transpose(1, 2))

    return bare, float(sum((4 + 2 * passes) * weights.numel() * batch for _, weights, _, passes in pairs))


def accuracy(drawn: Any, beta: Any, estimate: float, error: float) -> dict[str, float]:
    """Return the errors of an estimate: of each row's beta, against the population and against the oracle."""
    return {
        "estimate": estimate,
        "se": error,
        "rmse": float(np.sqrt(np.mean((beta - drawn["beta"]) ** 2))),
        "z": (estimate - float(drawn["truth"])) / error,
        "z_oracle": (estimate - float(drawn["oracle"])) / error,
    }


def peak_memory() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "draw": draw,
    "ours": ours,
    "peer": peer,
    "doubleml": doubleml,
    "family_time": family_time,
    "estimand_time": estimand_time,
    "conversion": conversion,
    "loop_speed": loop_speed,
}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # an interpreter that holds only deep-inference
    name, keywords = sys.argv[1:]
    print(json.dumps(MEASURES[name](**json.loads(keywords))))
