"""The nuisances of one repetition: candidates trained, stacked and recalibrated, or nets with refit heads."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.design.splits import SplitPlan
from deepdml.learn.augmentation import ALPHAS
from deepdml.learn.bases import constant_basis, linear_basis, sieve_basis
from deepdml.learn.candidates import BasisFit, OwnFit, fit_basis, fit_groups, fit_sieve
from deepdml.learn.clusters import find_clusters
from deepdml.learn.heads import heads_of_copies, refit_heads
from deepdml.learn.inputs import Inputs
from deepdml.learn.jumps import find_jumps, fit_lines, fit_stepped
from deepdml.learn.problem import LearnOptions, Problem
from deepdml.learn.recalibration import Recalibration, recalibrate
from deepdml.learn.scheme import Scheme
from deepdml.learn.screening import COLUMNS, fit_screened
from deepdml.learn.stacking import (
    Predictions,
    Stack,
    predictions_by_net,
    predictions_of_basis,
    predictions_of_nets,
    stack,
)
from deepdml.learn.tasks import Task, Units
from deepdml.learn.training import CHECK, LOOK_BACK, NetGroup, Schedule, TrainedGroup, least_loss, train
from deepdml.learn.trees import MAX_COVARIATES, Bins, TreesFit, fit_trees

Int = NDArray[np.intp]
Report = Callable[[str, int, int, float], None]
Fit = TrainedGroup | BasisFit | OwnFit | TreesFit

LR = 4e-3
BATCH = 256
VECTOR = 32  # torch rounds what is left of a tensor after multiples of it differently, so batches are multiples of it
STEPS = (150, 2_000)
PATIENCE = 4  # epochs over which a net has to gain, where they are more than the least number of looks
EPOCHS = 66  # beyond STEPS, where rows are many
DECAY = 1.0  # decoupled weight decay of the nets at DECAY_ROWS rows; it falls with the number of rows
DECAY_ROWS = 8_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One learner of one task: a basis fit, or the copies of a net that differ by their seeds and are averaged."""

    name: str
    fits: tuple[Fit, ...]

    def predictions(self, inputs: Inputs, scheme: Scheme) -> Predictions:
        """Return the held-out predictions, averaged over the copies."""
        each = [_predictions(fit, inputs, scheme) for fit in self.fits]
        if len(each) == 1:
            return each[0]
        held, members = (torch.stack([getattr(e, f) for e in each]).mean(0) for f in ("held", "members"))
        return Predictions(held, members)


@dataclass(frozen=True, slots=True)
class Learned:
    """A nuisance after learning, in common units.

    Parameters
    ----------
    out : Tensor (n, o)
        Cross-fitted predictions.
    stacked : Stack
        The candidates' combination before recalibration; its held-out predictions serve the conditional scale.
    candidates : tuple
        What was stacked, in the order of the weights.
    linear, constant : Tensor (n, o)
        Cross-fitted predictions of the linear fit and of a constant alone, for the diagnostics.
    recalibration : Recalibration or None
        What held-out residuals add to the stack.
    recalibrated : Tensor (n, o) or None
        The stack with that added, where `out` is left without.
    heads : tuple of Tensor (k, f, o)
        Refit heads, one tensor per copy of the net; empty where the nets keep their own last layer.
    """

    task: Task
    out: Tensor
    stacked: Stack
    candidates: tuple[Candidate, ...]
    linear: Tensor
    constant: Tensor
    recalibration: Recalibration | None = None
    recalibrated: Tensor | None = None
    heads: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What the learners of one repetition share.

    Parameters
    ----------
    fold : Tensor (n,)
        Fold of each row.
    """

    problem: Problem
    plan: SplitPlan
    scheme: Scheme
    inputs: Inputs
    options: LearnOptions
    fold: Tensor


@dataclass(frozen=True, slots=True)
class Start:
    """Where the learners of a task start.

    Parameters
    ----------
    units : Units
        Of every net.
    constant, linear : BasisFit
        The linear fit is the constant where there are no covariates.
    nets : Tensor (s, f, o)
        What the nets start from: the linear fit, or one with the steps of each net's jumps.
    """

    units: Units
    constant: BasisFit
    linear: BasisFit
    nets: Tensor


def begin(setting: Setting) -> tuple[Setting, list[Start]]:
    """Fit constants and lines, and add to the inputs of the stacked learner's nets the jumps that those leave."""
    problem, scheme, x = setting.problem, setting.scheme, setting.problem.x
    train_rows = [torch.from_numpy(rows).to(x.device) for rows in scheme.train_rows()]
    flat, line = constant_basis(x), linear_basis(x)
    starts = []
    for task in problem.tasks:
        units = task.units(train_rows).to(x.device)
        constant = fit_basis("constant", task, flat, x, scheme, units)
        linear = fit_basis("linear", task, line, x, scheme, units) if x.shape[1] else constant
        starts.append(Start(units, constant, linear, linear.nets))
    if setting.options.learner == "net" or not setting.options.takes_steps:
        return setting, starts
    jumps = find_jumps([(start.linear, start.units) for start in starts], x, scheme)
    if jumps is None:
        return setting, starts
    starts = [replace(start, nets=fit_lines(start.linear, jumps, x, scheme, start.units)) for start in starts]
    return replace(setting, inputs=replace(setting.inputs, jumps=jumps)), starts


def learn_nuisances(
    setting: Setting, starts: list[Start], seeds: np.random.SeedSequence, report: Report
) -> list[Learned]:
    """Learn the outcome's theta and the treatment's mean or levels, in the order of `Problem.tasks`."""
    scheme, x, jumps = setting.scheme, setting.problem.x, setting.inputs.jumps
    if x.shape[1] == 0:
        return [_stacked(setting, start.constant.task, (Candidate("constant", (start.constant,)),)) for start in starts]
    trained = _train(setting, starts, seeds, report)
    if setting.options.learner == "net":
        return [_with_heads(setting, start, nets, seeds) for start, nets in zip(starts, trained, strict=True)]
    sieve, bins = sieve_basis(x), Bins.cut(x) if x.shape[1] <= MAX_COVARIATES else None
    clusters = find_clusters(starts[0].linear.basis, x, np.random.default_rng(seeds.generate_state(4)))
    learned = []
    for start, nets in zip(starts, trained, strict=True):
        task, units = start.linear.task, start.units
        report(f"stack of the {task.name}", 0, 0, math.nan)
        wide = (
            fit_sieve(task, sieve, x, scheme, units)
            if jumps is None
            else fit_stepped(task, sieve, jumps, x, scheme, units)
        )
        fits: list[BasisFit | OwnFit | TreesFit] = [start.constant, start.linear, *wide]
        if x.shape[1] in COLUMNS:
            fits.append(fit_screened(start.linear, x, scheme, units))
        if clusters is not None:
            fits.append(fit_groups("clusters", task, clusters, clusters.groups, x, scheme, units))
        if bins is not None:
            fits.append(fit_trees(start.constant, bins, scheme, units, seeds.spawn(1)[0]))
        candidates = (*(Candidate(fit.name, (fit,)) for fit in fits), *nets)
        learned.append(_stacked(setting, task, candidates))
    return learned


def _train(
    setting: Setting, starts: list[Start], seeds: np.random.SeedSequence, report: Report
) -> list[list[Candidate]]:
    """Train the nets of all tasks together and return each task's neural candidates."""
    groups = _groups(setting, starts)
    schedule = _schedule(setting.options, setting.scheme)
    said = functools.partial(report, "nets")
    every = train(setting.inputs, groups, setting.scheme, schedule, seeds, said, setting.options.augment)
    trained, each = [], []
    while every:  # the alphas of one net stand side by side
        alphas = len(_alphas(setting, every[0].group.task))
        trained.append(least_loss(every[:alphas]))
        every = every[alphas:]
    for start in starts:
        mine = [t for t in trained if t.group.task is start.linear.task]
        names = list(dict.fromkeys(t.group.name for t in mine))
        each.append([Candidate(name, tuple(t for t in mine if t.group.name == name)) for name in names])
    return each


def _schedule(options: LearnOptions, scheme: Scheme) -> Schedule:
    size = max(int(scheme.train_sizes()[0]), 1)
    batch = max(VECTOR, min(BATCH, size) // VECTOR * VECTOR)
    low, high = STEPS[0], max(STEPS[1], EPOCHS * size // batch)
    look_back = max(LOOK_BACK, math.ceil(PATIENCE * size / (batch * CHECK)))
    if options.epochs is not None:
        high = max(1, math.ceil(options.epochs * size / batch))
    return Schedule(options.lr or LR, batch, min(low, high), high, look_back)


def _groups(setting: Setting, starts: list[Start]) -> list[NetGroup]:
    options, n, p = setting.options, len(setting.problem.x), setting.inputs.width
    decay = DECAY * min(1.0, DECAY_ROWS / n) if options.weight_decay is None else options.weight_decay
    return [
        NetGroup(backbone.label, start.linear.task, backbone, start.units, line, decay, alpha)
        for start in starts
        for line in [_on_net_scale(start, setting.inputs)]
        for backbone in options.backbones(p, start.linear.task.n_out)
        for _ in range(options.ensemble)
        for alpha in _alphas(setting, start.linear.task)
    ]


def _alphas(setting: Setting, task: Task) -> tuple[float, ...]:
    """Return the weights of invariance to try: a view leaves the outcome as it is, the treatment may depend on it."""
    augmented = setting.options.augment is not None and task is setting.problem.outcome
    return ALPHAS if augmented else ALPHAS[:1]


def _on_net_scale(start: Start, inputs: Inputs) -> Tensor:
    """Return coefficients (s, f, o) on covariates standardized by each net's own moments; those of steps stay."""
    basis, line = start.linear.basis, start.nets.clone()
    covariates = slice(1, 1 + len(basis.mean))
    slopes = line[:, covariates] / basis.scale[:, None]
    line[:, covariates] = slopes * inputs.scale.double().transpose(1, 2)
    line[:, :1] += (inputs.mean.double()[:, 0] - basis.mean)[:, None] @ slopes
    return line.float()


def _predictions(fit: Fit, inputs: Inputs, scheme: Scheme) -> Predictions:
    if isinstance(fit, OwnFit | TreesFit):
        return predictions_by_net(fit, inputs.x, scheme)
    if isinstance(fit, BasisFit):
        return predictions_of_basis(fit, inputs.x, scheme)
    return predictions_of_nets(fit, inputs, scheme)


def _stacked(setting: Setting, task: Task, candidates: tuple[Candidate, ...]) -> Learned:
    """Stack the candidates, and recalibrate the stack where that does not inflate a second-order term."""
    predictions = [c.predictions(setting.inputs, setting.scheme) for c in candidates]
    constant, linear = (predictions[i].members.mean(0) for i in (0, min(1, len(predictions) - 1)))
    return combine(setting, task, candidates, predictions, linear, constant)


def combine(
    setting: Setting,
    task: Task,
    candidates: tuple[Candidate, ...],
    predictions: list[Predictions],
    linear: Tensor,
    constant: Tensor,
) -> Learned:
    """Return the nuisance that the candidates' predictions make: their stack, recalibrated.

    theta of a loss that is not quadratic is left as it is: the jackknife does not see what a recalibration adds to its
    variance, and so to the second-order term. Where the link is canonical, the recalibrated one stands beside it. A
    single candidate has nothing to recalibrate.
    """
    stacked = stack(task, predictions, setting.scheme)
    learned = Learned(task, stacked.out.double(), stacked, candidates, linear, constant)
    own = task is setting.problem.outcome and not task.quadratic
    if len(candidates) == 1 or (own and not setting.problem.family.canonical):
        return learned
    recalibration = recalibrate(stacked, predictions, setting.scheme)
    if own:
        return replace(learned, recalibrated=recalibration.out)
    return replace(learned, out=recalibration.out, recalibration=recalibration)


def _with_heads(setting: Setting, start: Start, nets: list[Candidate], seeds: np.random.SeedSequence) -> Learned:
    """Return the nuisance of ``learner="net"``: nets with refit heads, one for each copy or one on all of them."""
    inputs, scheme, task = setting.inputs, setting.scheme, start.linear.task
    (net,) = nets
    stacked = stack(task, [net.predictions(inputs, scheme)], scheme)
    copies = [fit for fit in net.fits if isinstance(fit, TrainedGroup)]
    together = [copies] if setting.options.ensemble_by == "concat" else [[copy] for copy in copies]
    augment = setting.options.augment if task is setting.problem.outcome else None
    seen = None if augment is None else inputs.view_of_all(augment, np.random.default_rng(seeds.spawn(1)[0]))
    refits = [refit_heads(each, inputs, scheme, setting.fold, setting.plan.fold_block, seen) for each in together]
    out = torch.stack([out for out, _ in refits]).mean(0)
    heads = tuple(
        own for each, (_, found) in zip(together, refits, strict=True) for own in heads_of_copies(found, each)
    )
    line, flat = (predictions_of_basis(fit, inputs.x, scheme).members.mean(0) for fit in (start.linear, start.constant))
    return Learned(task, out, stacked, (net,), line, flat, heads=heads)
