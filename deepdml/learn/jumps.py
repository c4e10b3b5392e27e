"""Jumps of the outcome or the treatment along single covariates: thresholds that no net and no smooth basis follows.

Rules are written in thresholds: an age, an income, the size of a class. Where one moves outcome and treatment together,
learners that round it off make the same error in both, which is bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepdml.learn.bases import Basis, Features, sieve_basis
from deepdml.learn.candidates import BasisFit, OwnFit, fit_basis, fit_sieve
from deepdml.learn.scheme import Scheme
from deepdml.learn.tasks import Task, Units

COLUMNS = 256  # beyond so many covariates, none is searched
MOST = 8  # jumps of a net
ROWS = 20_000  # training rows looked at
WINDOW = 20  # a window on either side of a cut has one row in so many
LEAST = 64  # rows of a window
MARGIN = 1.25  # by which a statistic has to be above what the largest of as many standard normal ones would be
CHUNK = 16  # columns searched at once
Place = tuple[int, float]  # a column and a cut of it


@dataclass(frozen=True, slots=True)
class Jumps:
    """Cuts of covariates, each net's own: a row is above a cut where its covariate is greater.

    Parameters
    ----------
    column : Tensor (s, c) of int
    cut : Tensor (s, c), float32
        Infinite where a net has fewer than c.
    share : Tensor (s, c), float32
        Share of the net's rows that is above; one half where there is no cut.
    """

    column: Tensor
    cut: Tensor
    share: Tensor

    @property
    def most(self) -> int:
        """Number of cuts c that a net can have."""
        return self.column.shape[1]

    def select(self, nets: Tensor) -> Jumps:
        """Return the cuts of some nets."""
        return Jumps(self.column[nets], self.cut[nets], self.share[nets])

    def of_net(self, net: int) -> Jumps:
        """Return the cuts that one net has, with s = 1."""
        own = self.cut[net].isfinite()
        return Jumps(*(part[net : net + 1, own] for part in (self.column, self.cut, self.share)))

    def steps(self, values: Tensor) -> Tensor:
        """Return standardized indicators (s, b, c) of where covariates (s, b, p) are above the nets' cuts."""
        column = self.column[:, None].expand(-1, values.shape[1], -1)
        above = (values.gather(2, column) > self.cut[:, None]).to(values.dtype)
        share = torch.where(self.cut.isfinite(), self.share, 0.0)[:, None].to(values.dtype)
        spread = (self.share * (1 - self.share)).sqrt()[:, None].to(values.dtype)
        return (above - share) / spread


@dataclass(frozen=True, slots=True)
class Stepped:
    """A basis and the steps of one net.

    Parameters
    ----------
    smooth : Features
    jumps : Jumps
        With s = 1.
    """

    smooth: Features
    jumps: Jumps

    @property
    def mean(self) -> Tensor:
        """Means (p,) of the covariates."""
        return self.smooth.mean

    @property
    def scale(self) -> Tensor:
        """Standard deviations (p,) of the covariates."""
        return self.smooth.scale

    @property
    def n_features(self) -> int:
        """Number of features f, the constant included."""
        return self.smooth.n_features + self.jumps.most

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of covariates (m, p), shape (m, f), float64."""
        return torch.cat([self.smooth(x), self.jumps.steps(x[None])[0].double()], 1)


@dataclass(frozen=True, slots=True)
class _Search:
    """What one net's training rows are searched with: its fits of all tasks, and their gradients at a sample of rows.

    Parameters
    ----------
    values : Tensor (r, p)
        Covariates of the sample.
    fits : list of (BasisFit, Tensor (f, o), Units)
        A fit, the net's coefficients in it, and the net's units.
    """

    scheme: Scheme
    rows: Tensor
    values: Tensor
    fits: list[tuple[BasisFit, Tensor, Units]]

    @classmethod
    def of_net(cls, linear: list[tuple[BasisFit, Units]], net: int, x: Tensor, scheme: Scheme) -> _Search:
        """Return the search of a net that starts from linear fits."""
        alone = scheme.of_net(net)
        rows = alone.train_rows()[0]
        sample = torch.from_numpy(rows[:: math.ceil(len(rows) / ROWS)]).to(x.device)
        return cls(alone, sample, x[sample], [(fit, fit.nets[net], units.of_net(net)) for fit, units in linear])

    def gradients(self, without: int | None = None) -> Tensor:
        """Return the gradients (r, o) of all tasks at the fits, or at the fits without one of their steps."""
        each = []
        for fit, coefficients, units in self.fits:
            own = coefficients
            if isinstance(fit.basis, Stepped) and without is not None:
                own = own.clone()
                own[fit.basis.smooth.n_features + without] = 0.0
            out = fit.basis(self.values) @ own
            each.append(fit.task.gradient(out[None], self.rows[None], units)[0].double())
        return torch.cat(each, 1)

    def jumps(self, found: list[Place]) -> Jumps:
        """Return what was found as jumps, with s = 1."""
        column = torch.tensor([[column for column, _ in found]], dtype=torch.long, device=self.values.device)
        cut = torch.tensor([[cut for _, cut in found]], dtype=self.values.dtype, device=self.values.device)
        return Jumps(column, cut, (self.values[:, column[0]] > cut).to(cut.dtype).mean(0, keepdim=True))

    def stepped(self, sieve: Basis, found: list[Place], x: Tensor) -> _Search:
        """Return the search with fits on a sieve and what was found."""
        basis, fits = Stepped(sieve, self.jumps(found)), []
        for fit, _, units in self.fits:
            new = fit_basis("stepped", fit.task, basis, x, self.scheme, units)
            fits.append((new, new.nets[0], units))
        return replace(self, fits=fits)

    def go_on(self, found: list[Place], sieve: Basis, x: Tensor) -> Jumps:
        """Return all jumps, at most MOST: found ones join a sieve, and the search goes on in what that leaves.

        At the end each is put where it splits best what the fit would leave without it.
        """
        search, known = self, found[:MOST]
        while found:
            search = self.stepped(sieve, known, x)
            found = find(self.values, search.gradients(), known) if len(known) < MOST else []
            known = (known + found)[:MOST]
        for i, (column, cut) in enumerate(known):
            values, order = self.values[:, column].sort()
            k, window = int((values <= cut).sum()), len(values) // WINDOW
            known[i] = (column, best_cut(values, search.gradients(i)[order], k, window)[0])
        return self.jumps(known)


def find_jumps(linear: list[tuple[BasisFit, Units]], x: Tensor, scheme: Scheme) -> Jumps | None:
    """Look for jumps in what the linear fits leave, net by net on its training rows; None where there is none.

    Parameters
    ----------
    linear : list of (BasisFit, Units)
        The linear fits of all tasks.
    x : Tensor (n, p)
    """
    if not 0 < x.shape[1] <= COLUMNS:
        return None
    searches = [_Search.of_net(linear, net, x, scheme) for net in range(scheme.n_nets)]
    first = [find(search.values, search.gradients(), []) for search in searches]
    if not any(first):
        return None
    sieve, size = sieve_basis(x), (len(first), MOST)
    column = torch.zeros(size, dtype=torch.long, device=x.device)
    cut, share = (torch.full(size, fill, device=x.device) for fill in (torch.inf, 0.5))
    for net, (search, found) in enumerate(zip(searches, first, strict=True)):
        own = search.go_on(found, sieve, x)
        for whole, part in ((column, own.column), (cut, own.cut), (share, own.share)):
            whole[net, : own.most] = part[0]
    return Jumps(column, cut, share)


def fit_lines(linear: BasisFit, jumps: Jumps, x: Tensor, scheme: Scheme, units: Units) -> Tensor:
    """Return the coefficients (s, 1 + p + c, o) of every net's linear fit with its steps, in the net's units."""
    lines = torch.nn.functional.pad(linear.nets, (0, 0, 0, jumps.most))
    for net in range(scheme.n_nets):
        basis, alone = Stepped(linear.basis, jumps.of_net(net)), scheme.of_net(net)
        lines[net, : basis.n_features] = fit_basis("linear", linear.task, basis, x, alone, units.of_net(net)).nets[0]
    return lines


def fit_stepped(
    task: Task, sieve: Basis, jumps: Jumps, x: Tensor, scheme: Scheme, units: Units
) -> tuple[OwnFit, OwnFit]:
    """Fit a task twice on a sieve and each net's own jumps: with a ridge on all features, and on few of them."""
    fits = []
    for net in range(scheme.n_nets):
        basis = Stepped(sieve, jumps.of_net(net))
        fits.append(fit_sieve(task, basis, x, scheme.of_net(net), units.of_net(net)))
    ridge, few = zip(*fits, strict=True)
    return OwnFit.gather(ridge, scheme), OwnFit.gather(few, scheme)


def agreed(jumps: list[Jumps], n_nets: int, x: Tensor) -> list[tuple[int, float, float]]:
    """Return column, median cut and share of nets of the jumps that at least half of the nets found.

    Cuts of a column are one jump where less than half a window of rows lies between neighbours.
    """
    found: list[tuple[int, float, float]] = []
    near = len(x) / (2 * WINDOW)
    column, cut = (torch.cat([getattr(each, field).flatten() for each in jumps]) for field in ("column", "cut"))
    for j in column[cut.isfinite()].unique().tolist():
        own = cut[(column == j) & cut.isfinite()].sort().values
        place = torch.searchsorted(x[:, j].sort().values, own, right=True)
        groups = torch.tensor_split(own, (torch.nonzero(place.diff() > near)[:, 0] + 1).tolist())
        found += [(j, float(part.quantile(0.5)), len(part) / n_nets) for part in groups if 2 * len(part) >= n_nets]
    return found


def find(x: Tensor, gradient: Tensor, known: list[Place]) -> list[Place]:
    """Return the jumps of gradients (r, o) along covariates (r, p), the clearest first; none is near a known one.

    At every value of a covariate the gradients are extrapolated to it from the rows below and from the rows above, by
    a line in their ranks; the statistic is the difference over its standard error.

    References
    ----------
    Loader, "Change point estimation using nonparametric regression", Annals of Statistics 24(4), 1996, section 2.
    """
    r, p = x.shape
    window = r // WINDOW
    if window < LEAST:
        return []
    bar = math.sqrt(2 * math.log(r * p * gradient.shape[1])) + MARGIN
    found: list[tuple[float, Place]] = []
    for first in range(0, p, CHUNK):
        values, order = x[:, first : first + CHUNK].T.sort(1)
        ordered = gradient[order]
        z = statistics(ordered, window).abs().amax(2)
        z.masked_fill_(values[:, window : r - window + 1] <= values[:, window - 1 : r - window], 0.0)
        for column, cut in known:
            if first <= column < first + len(z):
                _clear(z[column - first], int((values[column - first] <= cut).sum()), window)
        while float(z.max()) > bar:
            j, at = divmod(int(z.argmax()), z.shape[1])
            cut, k = best_cut(values[j], ordered[j], at + window, window)
            found.append((float(z[j, at]), (first + j, cut)))
            _clear(z[j], k, window)
            _clear(z[j], at + window, window)
    return [place for _, place in sorted(found, reverse=True)]


def _clear(z: Tensor, k: int, window: int) -> None:
    """Set the statistics (r - 2 h + 1,) of a column to zero within a window of the cut after k rows."""
    z[max(0, k - 2 * window) : max(0, k)] = 0.0


def statistics(ordered: Tensor, window: int) -> Tensor:
    """Return, for every cut with a window of h rows on either side, how far apart the two sides' lines meet it.

    Parameters
    ----------
    ordered : Tensor (c, r, o)
        Gradients by increasing values of c covariates.

    Returns
    -------
    Tensor (c, r - 2 h + 1, o)
        In standard errors; the first is that of the cut after h rows.
    """
    h, r = window, ordered.shape[1]
    rank = torch.arange(r, dtype=torch.float64, device=ordered.device)[:, None]
    sums, ranked, squares = (
        torch.nn.functional.pad(v.cumsum(1), (0, 0, 1, 0)) for v in (ordered, ordered * rank, ordered.square())
    )
    # weights of the m-th row from the cut in the value there of a line through h of them: level - slope m
    slope, level = 6 / (h**2 - 1), 1 / h + 3 / (h + 1)
    k = torch.arange(h, r - h + 1, dtype=torch.float64, device=ordered.device)[:, None]
    here, below, above = slice(h, r - h + 1), slice(0, r - 2 * h + 1), slice(2 * h, r + 1)
    right = (level + slope * k) * (sums[:, above] - sums[:, here]) - slope * (ranked[:, above] - ranked[:, here])
    left = (level - slope * (k - 1)) * (sums[:, here] - sums[:, below]) + slope * (ranked[:, here] - ranked[:, below])
    variance = (squares[:, above] - squares[:, below]) / h * (1 / h + 3 * h / (h**2 - 1))
    return (right - left) / variance.clamp_min(1e-300).sqrt()


def best_cut(values: Tensor, gradient: Tensor, k: int, window: int) -> tuple[float, int]:
    """Return the cut within a window of k rows that splits the gradients (r, o) best, and the number of rows below it.

    Parameters
    ----------
    values : Tensor (r,)
        A covariate, increasing.
    """
    near = slice(max(0, k - window), k + window)
    own, part = values[near], gradient[near] - gradient[near].mean(0)
    left = part.cumsum(0)[:-1]
    size = torch.arange(1, len(part), device=part.device)
    gain = (left.square() / part.square().mean(0).clamp_min(1e-300)).sum(1) * (1 / size + 1 / (len(part) - size))
    gain.masked_fill_(own[1:] <= own[:-1], -1.0)
    at = int(gain.argmax())
    return float((own[at] + own[at + 1]) / 2), near.start + at + 1
