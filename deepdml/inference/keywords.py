"""The keywords of covariances: what each type takes and needs, checked where the user gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np

from deepdml.design.labels import KeptRows
from deepdml.errors import OptionError, refuse_no_whole, unknown_option
from deepdml.inference.contributions import Kernel, Metric, Serial, Space
from deepdml.inference.covariance import canonical
from deepdml.inference.positions import encode_coordinates, encode_time

_TAKES = {
    "HC0": (),
    "HC1": (),
    "cluster": ("groups", "use_correction"),
    "cluster-crv3": ("groups", "use_correction"),
    "HAC": ("time", "maxlags", "kernel", "use_correction"),
    "hac-panel": ("groups", "time", "maxlags", "kernel", "use_correction"),
    "driscoll-kraay": ("time", "maxlags", "kernel", "use_correction"),
    "conley": ("coordinates", "cutoff", "kernel", "metric", "use_correction"),
}
_NEEDS = {
    "groups": "cluster labels: a column of the data, or one label per row",
    "time": "the period of each row: a column of the data with numbers or dates",
    "coordinates": "latitude and longitude: two columns of the data, or an (n, 2) array",
    "cutoff": "the distance beyond which rows are independent, in kilometres or planar units",
}


@dataclass(frozen=True, slots=True)
class CovarianceKeywords:
    """What a user gave beside the type of a covariance; None where nothing was.

    Parameters
    ----------
    groups, time, coordinates : object
        Columns, as arrays or frames.
    maxlags : int
        Longest lag.
    cutoff : float
        Distance.
    kernel : {"bartlett", "uniform"}
    metric : {"haversine", "euclidean"}
    use_correction : bool, "hac" or "cluster"
    """

    groups: object = None
    time: object = None
    coordinates: object = None
    maxlags: int | None = None
    cutoff: float | None = None
    kernel: Kernel | None = None
    metric: Metric | None = None
    use_correction: bool | str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> CovarianceKeywords:
        """Return the keywords of a dict, or raise OptionError for one that does not exist."""
        known = [field.name for field in fields(cls)]
        if given is not None and not isinstance(given, Mapping):
            raise OptionError(f"cov_kwds is a {type(given).__name__}; needed is a dict such as {{'groups': 'firm'}}.")
        for name in given or {}:
            if name not in known:
                raise unknown_option("key of cov_kwds", name, known)
        return cls(**(given or {}))

    def check(self, cov_type: str, *, groups_known: bool = False) -> None:
        """Raise OptionError for a keyword the type does not take, one it needs, or a value out of range.

        Parameters
        ----------
        cov_type : str
        groups_known : bool
            Whether groups are known without being given.
        """
        name = canonical(cov_type)
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        for key in given:
            # use_correction says nothing of HC0 and HC1, and harms nothing
            if key not in _TAKES[name] and key != "use_correction":
                users = ", ".join(repr(other) for other, takes in _TAKES.items() if key in takes)
                raise OptionError(f"cov_kwds has {key}, but cov_type={cov_type!r} does not use it; {users} do.")
        for key, meaning in _NEEDS.items():
            if key in _TAKES[name] and key not in given and not (key == "groups" and groups_known):
                raise OptionError(f"cov_type={cov_type!r} needs {key}, in cov_kwds={{{key!r}: ...}}: {meaning}.")
        for key, kind in (("kernel", Kernel), ("metric", Metric)):
            if key in given and getattr(self, key) not in get_args(kind):
                raise unknown_option(key, getattr(self, key), get_args(kind))
        if self.use_correction not in (None, True, False, "hac", "cluster"):
            raise unknown_option("use_correction", self.use_correction, ("True", "False", "hac", "cluster"))
        if self.maxlags is not None:
            refuse_no_whole("maxlags", self.maxlags, 0)
        cutoff = self.cutoff
        number = isinstance(cutoff, int | float | np.number) and not isinstance(cutoff, bool)
        if cutoff is not None and not (number and np.isfinite(cutoff) and cutoff >= 0):
            raise OptionError(f"cutoff={cutoff!r} is not a distance of at least 0.")

    def serial(self, kept: KeptRows) -> Serial | None:
        """Return time on the rows kept in a fit, None without it."""
        if self.time is None:
            return None
        periods, name = encode_time(self.time, kept)
        return Serial(periods, name, None if self.maxlags is None else int(self.maxlags), self.kernel or "bartlett")

    def space(self, kept: KeptRows) -> Space | None:
        """Return coordinates on the rows kept in a fit, None without them."""
        if self.coordinates is None or self.cutoff is None:
            return None
        metric: Metric = self.metric or "haversine"
        places = encode_coordinates(self.coordinates, metric, kept)
        return Space(places, float(self.cutoff), self.kernel or "uniform", metric)
