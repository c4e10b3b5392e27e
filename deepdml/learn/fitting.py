"""A whole fit: repetitions of cross-fitting on one problem, and the record of what was done."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepdml.design.data import ModelData
from deepdml.design.splits import SplitPlan, make_plan
from deepdml.errors import OptionError
from deepdml.families.base import Family
from deepdml.learn.crossfit import Repetition, crossfit
from deepdml.learn.influence import FitRecord, Influence, NuisanceFit, TrainedNets
from deepdml.learn.jumps import agreed
from deepdml.learn.prediction import collect_nets
from deepdml.learn.problem import LearnOptions, Problem, pose
from deepdml.learn.training import TrainedGroup
from deepdml.learn.treatment import Levels, Scalar

N_BLOCKS = 5


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit hands over to the results.

    Parameters
    ----------
    repetitions : tuple of Influence
    folds : (n_rep, n) array
    """

    repetitions: tuple[Influence, ...]
    folds: NDArray[np.intp]
    record: FitRecord
    nets: TrainedNets


Report = Callable[[int, str, int, int, float], None]


def fit(
    data: ModelData,
    family: Family,
    options: LearnOptions,
    *,
    n_folds: int,
    n_rep: int,
    seed: int,
    report: Report,
) -> Fitted:
    """Cross-fit a model `n_rep` times.

    Parameters
    ----------
    seed : int
        The only source of randomness; folds, starting values and minibatches all follow from it.
    report : callable
        Called with the repetition, phase, step, nets still training and their held-out loss.

    Raises
    ------
    OptionError
        Where treatment, family and options do not fit together.
    OverlapError
        Where the covariates determine the treatment.
    """
    start = time.perf_counter()
    problem = pose(data, family, options)
    repetitions, plans = [], []
    for r, seeds in enumerate(np.random.SeedSequence(seed).spawn(n_rep)):
        plan_seed, fit_seed = seeds.spawn(2)
        plan = draw_plan(problem, n_folds, np.random.default_rng(plan_seed))
        plans.append(plan)
        repetitions.append(crossfit(problem, plan, options, fit_seed, functools.partial(report, r)))
    seconds = time.perf_counter() - start
    record = _record(problem, options, plans, repetitions, seed, seconds)
    folds = np.stack([plan.fold for plan in plans])
    return Fitted(tuple(r.influence for r in repetitions), folds, record, collect_nets(repetitions))


def draw_plan(problem: Problem, n_folds: int, rng: np.random.Generator) -> SplitPlan:
    """Return the folds and blocks of one repetition: clusters stay whole, levels of a treatment are spread evenly."""
    strata = problem.treatment.codes if isinstance(problem.treatment, Levels) else None
    return make_plan(len(problem.x), n_folds, n_blocks=N_BLOCKS, groups=problem.data.groups, strata=strata, rng=rng)


def _record(
    problem: Problem,
    options: LearnOptions,
    plans: list[SplitPlan],
    repetitions: list[Repetition],
    seed: int,
    seconds: float,
) -> FitRecord:
    first = repetitions[0]
    overlap = {key: float(np.mean([r.law.overlap[key] for r in repetitions])) for key in first.law.overlap}
    return FitRecord(
        family=problem.family.name,
        learner=options.learner,
        strategy=problem.strategy,
        treatment_model=_treatment_model(problem, options),
        n_folds=plans[0].n_folds,
        n_blocks=plans[0].n_blocks,
        n_rep=len(plans),
        hidden=options.widths if problem.x.shape[1] else (),
        seed=seed,
        device=options.device,
        threads=torch.get_num_threads(),
        seconds=seconds,
        nuisances=tuple(_mean_fit([r.nuisances[i] for r in repetitions]) for i in range(len(first.nuisances))),
        overlap=overlap,
        clipped_share=float(np.mean([r.law.clipped_share for r in repetitions])),
        floored_share=float(np.mean([r.curvature.floored_share for r in repetitions])),
        min_eigenvalue=float(min(r.curvature.min_eigenvalue for r in repetitions)),
        signal={name: float(np.median([r.signal[name] for r in repetitions])) for name in first.signal},
        backbone=options.backbone.name if problem.x.shape[1] else "mlp",
        jumps=_jumps(problem, repetitions),
        history=tuple(curve for number, r in enumerate(repetitions) for curve in _history(number, r)),
    )


def _jumps(problem: Problem, repetitions: list[Repetition]) -> tuple[tuple[str, float, float], ...]:
    """Return the jumps that the nets agree on, by name of the covariate."""
    each = [jumps for r in repetitions if (jumps := r.setting.inputs.jumps) is not None]
    found = agreed(each, sum(r.setting.scheme.n_nets for r in repetitions), problem.x) if each else []
    return tuple((problem.data.x_names[column], cut, share) for column, cut, share in found)


def _history(number: int, repetition: Repetition) -> list[dict[str, Any]]:
    """Return the training curves of one repetition, one per nuisance, neural candidate and copy."""
    return [
        {
            "repetition": number,
            "nuisance": learned.task.name,
            "candidate": candidate.name,
            "copy": copy,
            "step": [step for step, _ in fit.looks],
            "loss": [loss for _, loss in fit.looks],
        }
        for learned in repetition.learned
        for candidate in learned.candidates
        for copy, fit in enumerate(candidate.fits)
        if isinstance(fit, TrainedGroup)
    ]


def _treatment_model(problem: Problem, options: LearnOptions) -> str:
    if isinstance(problem.treatment, Levels):
        if len(problem.treatment.rows) == 1:
            return "none"
        levels = f"{len(problem.treatment.rows)} levels"
        return f"known propensities, {levels}" if options.known is not None else f"propensities, {levels}"
    if isinstance(problem.treatment, Scalar):
        return "location-scale"
    return "means, variances and correlations"


def _mean_fit(fits: list[NuisanceFit]) -> NuisanceFit:
    """Average one nuisance's figures over repetitions."""

    def average(values: list[dict[str, float]]) -> dict[str, float]:
        return {key: float(np.mean([v[key] for v in values])) for key in values[0]}

    loss, linear, constant = np.mean([(f.loss, f.loss_linear, f.loss_constant) for f in fits], axis=0).tolist()
    return NuisanceFit(
        fits[0].name,
        fits[0].metric,
        loss,
        linear,
        constant,
        average([f.weights for f in fits]),
        average([f.best_epochs for f in fits]),
        fits[0].loss_perfect,
        average([f.alpha for f in fits]),
    )


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run torch on `count` threads (None leaves its setting), and restore the setting."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_device(device: str) -> None:
    """Raise OptionError where torch cannot use `device`."""
    if not isinstance(device, str):
        raise OptionError(f"device={device!r} is not the name of one, such as 'cpu' or 'cuda'.")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"device={device!r} cannot be used here: {str(error).splitlines()[0].rstrip('.')}. Use device='cpu'."
        ) from error
