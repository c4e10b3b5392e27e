"""One repetition of cross-fitting: from a plan of folds to theta, the score and the inverse of Lambda at every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.design.splits import SplitPlan
from deepdml.learn.curvature import Curvature, Nodes, integrals, integrate, invert, invert_near
from deepdml.learn.hessians import regress_hessian
from deepdml.learn.indexed import IndexTask
from deepdml.learn.influence import DiscreteLaw, Influence, LocationScaleLaw, NuisanceFit, Recalibrated, TreatmentLaw
from deepdml.learn.inputs import Inputs
from deepdml.learn.joint import JointLaw, joint_law
from deepdml.learn.nuisances import Learned, Report, Setting, begin, learn_nuisances
from deepdml.learn.problem import LearnOptions, Problem
from deepdml.learn.scheme import paired, single
from deepdml.learn.signal import signal_left
from deepdml.learn.spread import Spread, learn_spread
from deepdml.learn.tasks import LevelTask, MeanTask
from deepdml.learn.training import TrainedGroup
from deepdml.learn.treatment import (
    Levels,
    Scalar,
    Vector,
    check_overlap,
    check_present,
    clip_propensities,
    floor_scale,
    residual_nodes,
)

Float = NDArray[np.float64]
Int = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Law:
    """The cross-fitted law of the treatment, as its moments or as nodes and weights.

    Parameters
    ----------
    nodes : TreatmentLaw or None
        None where only moments were learned.
    moments : (n, d, d) array or None
        E[t t' | x] of the scaled structural row, where they are all that Lambda needs.
    clipped_share : float
        Share of rows whose propensity was clipped or whose conditional scale was floored.
    overlap : dict
        Figures of overlap for the diagnostics.
    spread : Spread or None
        The second moments of a continuous treatment.
    joint : JointLaw or None
        An approximate law of several columns, good enough for Lambda.
    """

    nodes: TreatmentLaw | None
    moments: Float | None
    clipped_share: float
    overlap: dict[str, float]
    spread: Spread | None = None
    joint: JointLaw | None = None

    @property
    def working(self) -> Nodes | None:
        """What Lambda integrates over: the law itself, or the approximate one of several columns."""
        return self.joint if self.nodes is None else self.nodes


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition of cross-fitting: the pieces of psi, and what the diagnostics and new data need."""

    influence: Influence
    curvature: Curvature
    law: Law
    setting: Setting
    learned: tuple[Learned, ...]
    nuisances: tuple[NuisanceFit, ...]
    signal: dict[str, float]


def crossfit(
    problem: Problem, plan: SplitPlan, options: LearnOptions, seeds: np.random.SeedSequence, report: Report
) -> Repetition:
    """Learn every nuisance out of fold and assemble the pieces of psi.

    Raises
    ------
    DataError
        Where a level of the treatment is too rare for every net to see it.
    OverlapError
        Where the covariates determine the treatment.
    """
    split_seed, net_seed, spread_seed, signal_seed = seeds.spawn(4)
    make = single if options.learner == "net" and problem.x.shape[1] else paired
    scheme = make(plan, np.random.default_rng(split_seed))
    if isinstance(problem.treatment, Levels):
        check_present(problem.treatment, problem.data, scheme)
    inputs = Inputs.over_training_rows(problem.x, scheme)
    fold = torch.from_numpy(plan.fold).to(problem.x.device)
    report("linear fits", 0, 0, math.nan)
    setting, starts = begin(Setting(problem, plan, scheme, inputs, options, fold))
    learned = tuple(learn_nuisances(setting, starts, net_seed, report))
    report("Lambda and psi", 0, 0, math.nan)
    influence, curvature, law = assemble(setting, learned, np.random.default_rng(spread_seed))
    nuisances = _assess(setting, learned, law)
    return Repetition(influence, curvature, law, setting, learned, nuisances, _signal(setting, learned, signal_seed))


def _signal(setting: Setting, learned: tuple[Learned, ...], seed: np.random.SeedSequence) -> dict[str, float]:
    """Return what is left in the residuals; nothing where there are no covariates."""
    problem = setting.problem
    if problem.x.shape[1] == 0:
        return {}
    rows = torch.arange(len(problem.x), device=problem.x.device)
    slope = problem.outcome.residuals(learned[0].out)
    weighted = slope if problem.weight is None else slope * problem.weight
    treated = learned[1].task.derivatives(learned[1].out, rows)[0] if len(learned) > 1 else None
    return signal_left(problem.x, weighted, treated, setting.scheme.block, seed, setting.plan.cluster)


def assemble(
    setting: Setting, learned: tuple[Learned, ...], rng: np.random.Generator, correct: bool = True
) -> tuple[Influence, Curvature, Law]:
    """Return the pieces of psi, Lambda and the treatment's law that learned nuisances make.

    Parameters
    ----------
    correct : bool
        Whether to make the second-order correction, where there is one to make.
    """
    problem = setting.problem
    law = _law(setting, learned, rng)
    theta = learned[0].out.cpu().numpy()
    noise = _noise(setting.options, learned[0]) if correct else None
    curved = None if problem.outcome.quadratic else noise
    hessian: Callable[[Tensor], Tensor] = problem.family.hessian
    if problem.strategy == "hessian regression":
        assert law.working is not None
        matrix, hessian = regress_hessian(setting, learned[0], law.working, rng)
        rest = np.zeros_like(theta)
        if curved is not None and not isinstance(problem.outcome, IndexTask):
            rest = integrals(law.working, problem.family, theta, curved, problem.unit)[1]
        curvature = invert(matrix, rest)
    else:
        curvature = _curvature(problem, law, theta, curved)
    if noise is not None and isinstance(problem.outcome, IndexTask):
        spread = torch.from_numpy(noise).to(learned[0].out.device)
        remainder = problem.outcome.remainder(learned[0].out, spread, hessian)
        curvature = replace(curvature, remainder=remainder.cpu().numpy())
    influence = _influence(problem, learned[0].out, curvature, law.nodes, noise)
    return replace(influence, recalibrated=_recalibrated(problem, learned[0], law, curvature.inverse)), curvature, law


def _recalibrated(problem: Problem, outcome: Learned, law: Law, inverse: Float) -> Recalibrated | None:
    """Return the recalibrated theta with its Lambda, in the user's units; None where either is not known.

    A row keeps its theta where the second one is out of reach of the first.
    """
    if outcome.recalibrated is None or law.working is None or problem.strategy == "hessian regression":
        return None
    theta, unit = outcome.recalibrated.cpu().numpy(), problem.unit
    with np.errstate(all="ignore"):  # what is not finite is not near
        matrix, _ = integrals(law.working, problem.family, theta, None, unit)
    second, near = invert_near(matrix, inverse)
    theta = np.where(near[:, None], theta, outcome.out.cpu().numpy())
    return Recalibrated(theta @ unit.T, unit @ second @ unit.T)


def _noise(options: LearnOptions, outcome: Learned) -> Float | None:
    """Return the delete-block jackknife covariance (n, d, d) of theta over a block's members, if there are several."""
    if options.learner == "net":
        return None
    members = outcome.stacked.members
    away = (members - members.mean(0)).double()
    m = len(members)
    return np.asarray(((m - 1) / m * torch.einsum("mnd,mne->nde", away, away)).cpu().numpy())


def _curvature(problem: Problem, law: Law, theta: Float, noise: Float | None) -> Curvature:
    if law.working is not None:
        return integrate(law.working, problem.family, theta, noise, problem.unit)
    assert law.moments is not None
    return invert(law.moments, np.zeros_like(theta))


def _law(setting: Setting, learned: tuple[Learned, ...], rng: np.random.Generator) -> Law:
    treatment = setting.problem.treatment
    if isinstance(treatment, Levels):
        return _levels_law(setting, treatment, learned)
    if len(learned) == 1:
        return Law(None, None, 0.0, {})
    spread = learn_spread(setting, learned[1], rng)
    data = setting.problem.data
    names = (
        [data.t_names[c] for c in treatment.columns]
        if isinstance(treatment, Vector)
        else list(data.treatment_names[:1])
    )
    scales = spread.scale.cpu().numpy()
    floored = [floor_scale(column, name, 1.0) for column, name in zip(scales.T, names, strict=True)]
    scale, touched = np.stack([column for column, _ in floored], 1), max(share for _, share in floored)
    task = learned[1].task
    assert isinstance(task, MeanTask)
    mean = task.means(learned[1].out).cpu().numpy()
    explained = 1.0 - (setting.problem.standardized - mean).var(0)
    overlap = {f"R2 of {name} given x": float(r2) for name, r2 in zip(names, explained, strict=True)}
    if isinstance(treatment, Vector) and setting.problem.strategy == "moments":
        return Law(None, _moments(setting.problem, treatment, mean, scale, spread), touched, overlap, spread)
    if isinstance(treatment, Vector):
        joint = _joint(setting.problem, treatment, mean, scale, spread)
        return Law(None, None, max(touched, joint.clipped_share), overlap, spread, joint)
    return Law(_location_scale(setting.problem, treatment, mean[:, 0], scale[:, 0]), None, touched, overlap, spread)


def _levels_law(setting: Setting, treatment: Levels, learned: tuple[Learned, ...]) -> Law:
    known = setting.options.known
    if len(treatment.rows) == 1:
        probabilities, clipped = np.ones((len(treatment.codes), 1)), 0.0
    elif known is None:
        task = learned[1].task
        assert isinstance(task, LevelTask)
        estimated = task.probabilities(learned[1].out).cpu().numpy()
        check_overlap(estimated, treatment, setting.problem.data)
        probabilities, clipped = clip_propensities(estimated, treatment.codes)
    else:
        probabilities, clipped = known, 0.0
    overlap = {}
    for row, column in zip(treatment.rows, probabilities.T, strict=True):
        label = ", ".join(f"{v:g}" for v in row[np.ptp(treatment.rows, axis=0) > 0])
        overlap[f"smallest propensity of {label}"] = float(column.min())
        overlap[f"largest propensity of {label}"] = float(column.max())
    return Law(DiscreteLaw(treatment.rows, probabilities), None, clipped, overlap)


def _location_scale(problem: Problem, treatment: Scalar, mean: Float, scale: Float) -> LocationScaleLaw:
    weight = None if problem.weight is None else problem.weight.cpu().numpy()
    nodes, weights = residual_nodes((problem.standardized[:, 0] - mean) / scale, weight)
    center, spread = problem.center[0], problem.spread[0]
    return LocationScaleLaw(
        center + spread * mean, spread * scale, nodes, weights, treatment.grid, treatment.grid_rows, treatment.affine
    )


def _joint(problem: Problem, treatment: Vector, mean: Float, scale: Float, spread: Spread) -> JointLaw:
    weight = None if problem.weight is None else problem.weight.cpu().numpy()
    mean, scale = problem.center + problem.spread * mean, problem.spread * scale
    return joint_law(problem.data.t, treatment, mean, scale, spread.correlation.cpu().numpy(), weight)


def _moments(problem: Problem, treatment: Vector, mean: Float, scale: Float, spread: Spread) -> Float:
    """Return E[t t' | x] of the scaled structural row (n, d, d) from conditional means, scales and correlations."""
    t, columns = problem.data.t, treatment.columns
    row = np.broadcast_to(t[0], t.shape).copy()
    row[:, columns] = problem.center + problem.spread * mean
    moments = row[:, :, None] * row[:, None, :]
    scale = scale * problem.spread
    covariance = spread.correlation.cpu().numpy() * scale[:, :, None] * scale[:, None, :]
    moments[:, columns[:, None], columns] += covariance
    return np.asarray(problem.unit.T @ moments @ problem.unit)


def _influence(
    problem: Problem, out: Tensor, curvature: Curvature, law: TreatmentLaw | None, noise: Float | None
) -> Influence:
    """Bring theta, score, Lambda and noise from scaled structural rows to the user's."""
    unit, theta = problem.unit, out.cpu().numpy()
    gradient = problem.outcome.gradients(out).cpu().numpy()
    return Influence(
        theta=theta @ unit.T,
        score=(gradient + curvature.remainder) @ np.linalg.inv(unit),
        lambda_inverse=unit @ curvature.inverse @ unit.T,
        law=law,
        noise=None if noise is None else unit @ noise @ unit.T,
    )


def _assess(setting: Setting, learned: tuple[Learned, ...], law: Law) -> tuple[NuisanceFit, ...]:
    """Measure every nuisance out of fold, beside the linear fit and a constant."""
    augmented = setting.options.augment is not None
    fits = [_assess_one(part, augmented and part.task is setting.problem.outcome) for part in learned]
    spread = law.spread
    if spread is not None:
        names = ("constant", "linear")[: spread.weights.shape[1]]
        weights = dict(zip(names, spread.weights.mean(0).tolist(), strict=True))
        metric = "half mean of log variance plus squared residual over variance"
        fits.append(
            NuisanceFit("treatment variance", metric, spread.loss, spread.loss_linear, spread.loss_constant, weights)
        )
    return tuple(fits)


def _assess_one(part: Learned, augmented: bool) -> NuisanceFit:
    task, rows = part.task, torch.arange(len(part.out), device=part.out.device)
    outs = (part.out, part.linear, part.constant)
    loss, linear, constant = (float(task.loss(out.double(), rows).mean()) for out in outs)
    names = [c.name for c in part.candidates]
    weights = dict(zip(names, part.stacked.weights.mean(0).tolist(), strict=True))
    copies = {c.name: [f for f in c.fits if isinstance(f, TrainedGroup)] for c in part.candidates}
    nets = {name: fits for name, fits in copies.items() if fits}
    epochs = {name: float(torch.cat([f.epochs for f in fits]).median()) for name, fits in nets.items()}
    alpha = {name: float(torch.cat([f.alpha for f in fits]).mean()) for name, fits in nets.items() if augmented}
    return NuisanceFit(task.name, task.metric, loss, linear, constant, weights, epochs, task.perfect_loss(), alpha)
