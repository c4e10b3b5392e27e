"""The one training loop: all nets of all tasks, candidates and folds step together.

Each net draws its own minibatches from its own rows, is averaged over the last tenth of its steps, is judged on its own
held-out rows and leaves the loop when it stops improving.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.augmentation import Augment, Views
from deepdml.learn.backbones import Backbone
from deepdml.learn.inputs import Inputs
from deepdml.learn.scheme import Scheme
from deepdml.learn.tasks import Task, Units

BETAS = (0.9, 0.999)
WARM_UP = 50  # steps
CHECK = 50  # steps between looks at the held-out loss
LOOK_BACK = 3  # checks over which a net has to gain, at least
GAIN = 0.1  # a net stops when it gained less than this over sqrt(n), relative to its loss
JUDGED = 4096  # held-out rows that judge a snapshot; more add cost, not information


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast nets train.

    Parameters
    ----------
    lr : float
        Constant rate after the warm-up.
    batch : int
        Rows of a minibatch.
    min_steps, max_steps : int
        Bounds on the steps; between them the held-out loss decides.
    look_back : int
        Looks at the held-out loss, one every CHECK steps, over which a net has to gain.
    """

    lr: float
    batch: int
    min_steps: int
    max_steps: int
    look_back: int = LOOK_BACK


@dataclass(frozen=True, slots=True)
class NetGroup:
    """One neural candidate for one task: as many nets as the scheme has.

    Parameters
    ----------
    name : str
        Name of the candidate.
    linear : Tensor (s, 1 + p, o)
        Linear fits, in the units of the nets, from which the nets start.
    decay : float
        Decoupled weight decay, per unit of the rate.
    alpha : float
        Weight of the squared change of the outputs from a row to a view of it, beside the loss.
    """

    name: str
    task: Task
    backbone: Backbone
    units: Units
    linear: Tensor
    decay: float
    alpha: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainedGroup:
    """The snapshots of a candidate.

    Parameters
    ----------
    parameters : Tensor (v, n_parameters)
        One row per snapshot of the scheme.
    steps : Tensor (v,)
        Step at which each snapshot was taken; 0 is the start, the linear fit.
    loss : Tensor (v,)
        Its held-out loss in the net's units.
    epochs : Tensor (v,)
        `steps` in passes over the net's training rows.
    looks : tuple of (step, loss)
        Mean held-out loss over the snapshots at each look; one that stopped looking counts with its last.
    alpha : Tensor (v,)
        The weight of the change between views that each snapshot was trained with.
    """

    group: NetGroup
    parameters: Tensor
    steps: Tensor
    loss: Tensor
    epochs: Tensor
    looks: tuple[tuple[int, float], ...]
    alpha: Tensor


def train(
    inputs: Inputs,
    groups: list[NetGroup],
    scheme: Scheme,
    schedule: Schedule,
    seeds: np.random.SeedSequence,
    report: Callable[[int, int, float], None],
    augment: Augment | None = None,
) -> list[TrainedGroup]:
    """Train every net of every group in one loop.

    Parameters
    ----------
    report : callable
        Called at each look with the step, the nets still training and their mean held-out loss.
    augment : callable, optional
        What makes the views of minibatches, for groups with an alpha.

    Returns
    -------
    list of TrainedGroup
        In the order of `groups`.
    """
    return _Loop(inputs, groups, scheme, schedule, seeds, augment).run(report)


class _Loop:
    """State of the loop. Axis r: the nets of all groups one after the other, group by group."""

    def __init__(
        self,
        inputs: Inputs,
        groups: list[NetGroup],
        scheme: Scheme,
        schedule: Schedule,
        seeds: np.random.SeedSequence,
        augment: Augment | None = None,
    ) -> None:
        self.inputs, self.groups, self.scheme, self.schedule = inputs, groups, scheme, schedule
        self.device = inputs.x.device
        s, device = scheme.n_nets, inputs.x.device
        self.rows = [torch.from_numpy(rows) for rows in scheme.train_rows()]
        self.width = max(g.backbone.n_parameters for g in groups)
        start, batch = seeds.spawn(2)
        self.views = None if augment is None else Views(augment, s, seeds.spawn(1)[0])
        # nets that differ in alpha alone start alike, so that held-out loss compares alphas and not seeds
        places = itertools.accumulate((g.alpha == 0.0 for g in groups[1:]), initial=0)
        words = start.generate_state(s * len(groups), np.uint64).reshape(-1, s) >> 1
        starts = [[torch.Generator().manual_seed(int(v)) for v in words[i]] for i in places]
        self.streams = [
            _Stream(rows, torch.Generator().manual_seed(int(v)))
            for rows, v in zip(self.rows, batch.generate_state(s, np.uint64) >> 1, strict=True)
        ]
        flats = [g.backbone.start(g.linear, own) for g, own in zip(groups, starts, strict=True)]
        self.flat = torch.cat([torch.nn.functional.pad(f, (0, self.width - f.shape[1])) for f in flats]).to(device)
        marks = [
            torch.nn.functional.pad(g.backbone.decayed() * g.decay, (0, self.width - g.backbone.n_parameters))
            for g in groups
        ]
        self.decay = torch.stack(marks).repeat_interleave(s, 0).to(device)
        self.group = torch.arange(len(groups)).repeat_interleave(s)
        self.net = torch.arange(s).repeat(len(groups))
        self.judged = self._judged_rows()

    def _judged_rows(self) -> list[tuple[Tensor, list[int], Tensor]]:
        """For each net: held-out rows (e,), how many of them judge each snapshot (v,), and its snapshots (v,)."""
        judged = []
        for net in range(self.scheme.n_nets):
            snapshots = np.flatnonzero(self.scheme.net == net)
            parts = [self.scheme.rows_of_cells(self.scheme.select[v]) for v in snapshots]
            parts = [rows[:: math.ceil(len(rows) / JUDGED)] for rows in parts]
            sizes = [len(rows) for rows in parts]
            judged.append((torch.from_numpy(np.concatenate(parts)), sizes, torch.from_numpy(snapshots)))
        return judged

    def run(self, report: Callable[[int, int, float], None]) -> list[TrainedGroup]:
        """Train until every snapshot is taken.

        A snapshot stops looking on its own held-out losses alone: one that waited for, or was cut off by, the other
        snapshot of its net would depend on the block it predicts. A net leaves the loop with its last snapshot.
        """
        snapshots = _Snapshots(len(self.groups), len(self.scheme.net), self.flat)
        active = torch.arange(len(self.group))
        flat, average = self.flat, self.flat.clone()
        first, second = torch.zeros_like(flat), torch.zeros_like(flat)
        step = 0
        while True:
            loss = self._look(average, active, snapshots, step)
            keep = [k for k, r in enumerate(active.tolist()) if snapshots.looking[self._slots(r)].any()]
            report(step, len(keep), loss)
            if not keep:
                break
            if len(keep) < len(active):
                active = active[keep]
                flat, average, first, second = (v[keep] for v in (flat, average, first, second))
            step = self._steps(step, active, flat, average, first, second)
        return [self._trained(i, snapshots) for i in range(len(self.groups))]

    def _slots(self, r: int) -> tuple[int, Tensor]:
        """Return the group and the snapshots (v,) of net r."""
        return int(self.group[r]), self.judged[int(self.net[r])][2]

    def _steps(self, step: int, active: Tensor, flat: Tensor, average: Tensor, first: Tensor, second: Tensor) -> int:
        """Take steps up to the next look, in place, and return the number of steps taken since the start."""
        count = min(CHECK, self.schedule.max_steps - step)
        nets = self.net[active].unique()
        rows = torch.stack([self.streams[net].draw(count * self.schedule.batch) for net in nets.tolist()])
        rows = rows.view(len(nets), count, self.schedule.batch).to(self.device)
        runs = self._runs(active, nets)
        nets, seen = nets.to(self.device), None
        decay = self.decay[active]
        for k in range(count):
            step += 1
            lr = self.schedule.lr * min(1.0, step / WARM_UP)
            if self.views is not None:
                seen = self.inputs.standardize(nets, self.views.of(self.inputs.values(rows[:, k]), nets))
            gradient = self._gradient(flat, runs, rows[:, k], self.inputs.standardized(nets, rows[:, k]), seen)
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            root = second.sqrt().div_(math.sqrt(1 - BETAS[1] ** step)).add_(1e-8)
            flat.addcmul_(flat, decay, value=-lr).addcdiv_(first, root, value=-lr / (1 - BETAS[0] ** step))
            average.lerp_(flat, min(1.0, 10.0 / step))
        return step

    def _runs(self, active: Tensor, nets: Tensor) -> list[_Run]:
        """Return the stretches of active nets that share a group, with their places among the `nets` that draw rows."""
        runs = []
        for i, g in enumerate(self.groups):
            where = torch.nonzero(self.group[active] == i)[:, 0]
            if len(where):
                mine = self.net[active[where]]
                place = None if len(mine) == len(nets) else torch.searchsorted(nets, mine).to(self.device)
                units = g.units.select(mine.to(self.device))
                runs.append(_Run(g, slice(int(where[0]), int(where[-1]) + 1), place, units))
        return runs

    def _gradient(self, flat: Tensor, runs: list[_Run], rows: Tensor, x: Tensor, seen: Tensor | None) -> Tensor:
        """Return the gradient of each net's mean minibatch loss, shape of `flat`; shared minibatches and views."""
        gradient = torch.zeros_like(flat)
        for run in runs:
            backbone = run.group.backbone
            leaf = flat[run.stretch, : backbone.n_parameters].detach().requires_grad_()
            own, batch = (rows, x) if run.place is None else (rows[run.place], x[run.place])
            out = backbone.forward(leaf, batch)
            loss = run.group.task.loss(out, own, run.units).mean(1).sum()
            if run.group.alpha and seen is not None:
                away = out - backbone.forward(leaf, seen if run.place is None else seen[run.place])
                loss = loss + 0.5 * run.group.alpha * away.square().sum(2).mean(1).sum()
            (gradient[run.stretch, : backbone.n_parameters],) = torch.autograd.grad(loss, leaf)
        return gradient

    @torch.no_grad()
    def _look(self, average: Tensor, active: Tensor, snapshots: _Snapshots, step: int) -> float:
        """Judge the averaged nets on their held-out rows, keep what improved, and return the mean loss."""
        means = []
        for k, r in enumerate(active.tolist()):
            g, net = self.groups[int(self.group[r])], self.net[r : r + 1].to(self.device)
            rows, sizes, _ = self.judged[int(self.net[r])]
            rows = rows[None].to(self.device)
            out = g.backbone.forward(average[k : k + 1, : g.backbone.n_parameters], self.inputs.standardized(net, rows))
            parts = g.task.loss(out, rows, g.units.select(net))[0].split(sizes)
            losses = torch.stack([part.mean() for part in parts]).double().cpu()
            i, slots = self._slots(r)
            for v, loss in zip(slots.tolist(), losses.tolist(), strict=True):
                if snapshots.looking[i, v]:
                    snapshots.offer(i, v, step, loss, average[k])
                    snapshots.looking[i, v] = not self._finished(snapshots.history[i][v], step)
            means.append(float(losses.mean()))
        return float(np.mean(means))

    def _finished(self, history: list[float], step: int) -> bool:
        """Whether a snapshot has reached its last step or its held-out loss stopped gaining."""
        if step >= self.schedule.max_steps or not math.isfinite(history[-1]):
            return True
        return step >= self.schedule.min_steps and stalled(history, self.schedule.look_back, len(self.inputs.x))

    def _trained(self, i: int, snapshots: _Snapshots) -> TrainedGroup:
        size = torch.tensor([len(self.rows[net]) for net in self.scheme.net], dtype=torch.float64)
        g, steps = self.groups[i], snapshots.step[i]
        parameters = snapshots.parameters[i, :, : g.backbone.n_parameters]
        at = (min(k * CHECK, self.schedule.max_steps) for k in itertools.count())
        looks = tuple(zip(at, mean_losses(snapshots.history[i]), strict=False))
        alpha = torch.full((len(steps),), g.alpha, dtype=torch.float64)
        return TrainedGroup(g, parameters, steps, snapshots.loss[i], steps * self.schedule.batch / size, looks, alpha)


def least_loss(trained: list[TrainedGroup]) -> TrainedGroup:
    """Return nets that differ in alpha as one: each snapshot has the alpha of the least held-out loss.

    The curve is that of the alpha that most snapshots chose.
    """
    if len(trained) == 1:
        return trained[0]
    best = torch.stack([each.loss for each in trained]).argmin(0)
    snapshots = torch.arange(len(best))

    def chosen(name: str) -> Tensor:
        values = torch.stack([getattr(each, name) for each in trained])
        return values[best.to(values.device), snapshots.to(values.device)]

    return replace(
        trained[int(best.mode().values)],
        parameters=chosen("parameters"),
        steps=chosen("steps"),
        loss=chosen("loss"),
        epochs=chosen("epochs"),
        alpha=chosen("alpha"),
    )


def mean_losses(histories: list[list[float]]) -> list[float]:
    """Return the mean over snapshots of their held-out losses at each look, the last one of those that stopped.

    Examples
    --------
    >>> mean_losses([[4.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0]])
    [4.0, 2.5, 2.5, 2.0]
    """
    length = max(len(history) for history in histories)
    filled = [history + history[-1:] * (length - len(history)) for history in histories]
    return [float(loss) for loss in np.mean(filled, axis=0)]


def stalled(history: list[float], look_back: int, n: int) -> bool:
    """Whether the least held-out loss gained too little over the last looks, of n rows, to be worth going on."""
    if len(history) <= look_back:
        return False
    gain = min(history[:-look_back]) - min(history[-look_back:])
    return gain < GAIN / math.sqrt(n) * abs(history[-1])


@dataclass(frozen=True, slots=True)
class _Run:
    """Active nets of one group: their stretch of the parameters, and their places among the nets that draw rows.

    `place` is None where all of them are active, so that no minibatch is copied.
    """

    group: NetGroup
    stretch: slice
    place: Tensor | None
    units: Units


class _Snapshots:
    """The best averaged parameters of every snapshot so far; axes are group and snapshot."""

    def __init__(self, groups: int, snapshots: int, like: Tensor) -> None:
        self.parameters = like.new_zeros(groups, snapshots, like.shape[1])
        self.loss = torch.full((groups, snapshots), math.inf, dtype=torch.float64)
        self.step = torch.zeros(groups, snapshots, dtype=torch.long)
        self.looking = torch.ones(groups, snapshots, dtype=torch.bool)
        self.history: list[list[list[float]]] = [[[] for _ in range(snapshots)] for _ in range(groups)]

    def offer(self, i: int, v: int, step: int, loss: float, parameters: Tensor) -> None:
        """Take the parameters for snapshot v of group i if their held-out loss is the least so far."""
        self.history[i][v].append(loss)
        if loss < float(self.loss[i, v]):
            self.parameters[i, v], self.loss[i, v], self.step[i, v] = parameters, loss, step


class _Stream:
    """A net's rows in random order, pass after pass, from its own generator."""

    def __init__(self, rows: Tensor, generator: torch.Generator) -> None:
        self.rows, self.generator = rows, generator
        self.left = rows[:0]

    def draw(self, count: int) -> Tensor:
        """Return the next `count` rows."""
        drawn = list(self._passes(count))
        return torch.cat(drawn)

    def _passes(self, count: int) -> Iterator[Tensor]:
        while count > 0:
            if not len(self.left):
                self.left = self.rows[torch.randperm(len(self.rows), generator=self.generator)]
            taken, self.left = self.left[:count], self.left[count:]
            count -= len(taken)
            yield taken
