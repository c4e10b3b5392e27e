"""How a Results came about: the call of dd.fit and the methods called after it, so that it can be made again."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import OptionError
from deepdml.estimands import Estimand, Overlap
from deepdml.families import Family
from deepdml.learn.architecture import Conv
from deepdml.results.source import source_of

if TYPE_CHECKING:
    from deepdml.results.results import Results

Arrays = dict[str, NDArray[Any]]
Parameters = ParamSpec("Parameters")
S = TypeVar("S", bound="Recorded")
R = TypeVar("R", bound="Recorded")

_ROLES = ("data", "context")  # arguments that hold the user's data again, which a package has once


@dataclass(frozen=True, slots=True)
class Recipe:
    """The call that fitted, and the steps from there.

    What JSON has no form for is written as a dict with one key that begins with a dollar sign: ``$array`` (a name in
    `arrays`, with the name of a Series beside it), ``$dict``, ``$estimand``, ``$family``, ``$results``, ``$function``,
    ``$code``.

    Parameters
    ----------
    call : dict
        Arguments of `fit` by name, as JSON values.
    steps : tuple of dict
        Each a method of Results with its arguments, as JSON values.
    arrays : dict
        Arrays as the user gave them, by a hash of their content.
    """

    call: dict[str, Any]
    steps: tuple[dict[str, Any], ...] = ()
    arrays: Arrays = field(default_factory=dict)

    def then(self, method: str, arguments: Mapping[str, Any], take: str | None = None) -> Recipe:
        """Return the recipe with one more step; `take` is the attribute of what the method returned."""
        arrays = dict(self.arrays)
        step = {"method": method, "arguments": {name: plain(value, arrays) for name, value in arguments.items()}}
        return Recipe(self.call, (*self.steps, {**step, "take": take} if take else step), arrays)

    def without_rows(self) -> Recipe:
        """Return the recipe without arrays by row; it can then be read, and not run."""
        return Recipe(self.call, self.steps)


def record_call(options: Any, **arguments: Any) -> Recipe:
    """Return the recipe of a fit.

    Parameters
    ----------
    options : LearnOptions
        Of the learner; None in it means automatic, and known propensities stand in `treatment`.
    **arguments
        The other arguments of `fit`, and those that options hold in another form, as the user gave them.
    """
    learning = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in {"known", *arguments}}
    asked = {**arguments, **{name: "auto" if value is None else value for name, value in learning.items()}}
    arrays: Arrays = {}
    return Recipe({name: plain(value, arrays) for name, value in asked.items()}, (), arrays)


def plain(value: Any, arrays: Arrays) -> Any:
    """Return an argument as a JSON value; arrays go to `arrays`."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Recorded):
        return {"$results": _steps_of(value, arrays)}
    if isinstance(value, Estimand):
        return {"$estimand": type(value).__name__, "fields": _given(value, arrays)}
    if isinstance(value, Family):
        fields = value.arguments()
        inside = {name: plain(argument, arrays) for name, argument in fields.items()}
        return {"$family": type(value).__name__, "fields": inside} if fields else value.name
    if isinstance(value, Conv | Overlap):
        return {"$code": f"dd.{value!r}"}
    if isinstance(value, type):
        return {"$function": {"why": f"{value.__name__} is a class, and only functions are written into a package"}}
    if isinstance(value, Mapping) or hasattr(value, "columns"):
        names = list(value if isinstance(value, Mapping) else value.columns)
        return {"$dict": {str(name): plain(value[name], arrays) for name in names}}
    if isinstance(value, list | tuple) and (len(value) <= _SHORT or not _is_flat(value)):
        return [plain(item, arrays) for item in value]
    if hasattr(value, "__array__") or isinstance(value, list | tuple):
        return _array(value, arrays)
    if callable(value):
        return {"$function": source_of(value)}
    return {"$code": repr(value)}


_SHORT = 100  # entries of a list that is written out rather than kept as an array


def _is_flat(value: list[Any] | tuple[Any, ...]) -> bool:
    return all(item is None or isinstance(item, str | bool | int | float | np.generic) for item in value)


def _given(estimand: Any, arrays: Arrays) -> dict[str, Any]:
    """Return the fields of an estimand that are not their default."""
    return {
        f.name: plain(getattr(estimand, f.name), arrays)
        for f in fields(estimand)
        if f.default is MISSING or getattr(estimand, f.name) is not f.default
    }


def _steps_of(results: Recorded, arrays: Arrays) -> list[dict[str, Any]] | None:
    recipe = results._recipe
    if recipe is None:
        return None
    arrays |= recipe.arrays
    return list(recipe.steps)


def _array(value: Any, arrays: Arrays) -> dict[str, Any]:
    """Keep an array under a hash of its content, so that the same labels are kept once."""
    array = storable(value)
    key = hashlib.sha256(array.dtype.str.encode() + repr(array.shape).encode() + array.tobytes()).hexdigest()[:16]
    arrays[key] = array
    name = getattr(value, "name", None)
    return {"$array": key} if name is None else {"$array": key, "name": str(name)}


def storable(value: Any) -> NDArray[Any]:
    """Return labels or numbers as an array that a file holds without pickle; labels with holes become codes."""
    if isinstance(value, list | tuple):
        value = pd.Series(value)
    array = np.array(value)  # a copy: the user may change theirs
    if array.dtype.kind in "biufmMU":
        return array
    if pd.api.types.infer_dtype(array.ravel(), skipna=False) == "string":
        return array.astype(str)
    codes, _ = pd.factorize(array.ravel())
    return np.where(codes < 0, np.nan, codes).reshape(array.shape)


class Recorded:
    """What Results know of how they came about."""

    _recipe: Recipe | None = None

    def replication_package(
        self,
        folder: str | os.PathLike[str],
        data: object = None,
        metadata: object = None,
        *,
        exhibits: Mapping[str, Results] | None = None,
        context: Mapping[str, Any] | None = None,
        form: Literal["csv", "parquet"] = "csv",
        hashes: bool | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
    ) -> Path:
        """Write a folder from which a data editor reruns these results: data, program, environment, tables, README.

        Parameters
        ----------
        folder : path
            Must not exist, or be empty.
        data : frame or dict of arrays, optional
            The raw data of the fit; by default those of the model. A package without data is refused.
        metadata : Metadata or dict, optional
            Title, authors, sources of the data and more; see `replication.Metadata`. What is missing is listed in the
            README.
        exhibits : dict, optional
            The Results of the paper by name, ``{"Table 1": res, "Table 2": res.gate("region")}``; by default this one.
        context : dict, optional
            Arrays and functions the formula names, after loading.
        form : {"csv", "parquet"}
            Of the data file.
        hashes : bool, optional
            Whether requirements.txt gets the hashes of archives, for which pip asks its package index. By default it
            has a minute to answer; True gives it longer, and with False nothing uses the network.
        overwrite : bool
            Whether an unchanged package in `folder` is replaced.
        progress : bool, optional
            Whether a line says what is being done; by default where standard error is a terminal.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OptionError
            If the folder exists, or something in the recipe cannot be written down.
        DataError
            If there are no data, or others than those of the fit.
        """
        # the package runs fits again, so that its layer lies above this one; pyproject.toml names the exception
        from deepdml.replication import write_package

        if exhibits is not None and not isinstance(exhibits, Mapping):
            raise OptionError(f"exhibits is a {type(exhibits).__name__}; needed is a dict, {{'Table 1': res}}.")
        shown = {"Table 1": self} if exhibits is None else dict(exhibits)
        return write_package(
            folder,
            shown,
            data=data,
            metadata=metadata,
            context=context,
            form=form,
            hashes=hashes,
            overwrite=overwrite,
            progress=progress,
        )


def note(made: Recorded, parent: Recorded, method: str, arguments: Mapping[str, Any], take: str | None = None) -> None:
    """Write down that `made` came from a method of `parent`."""
    if parent._recipe is not None:
        kept = {name: value for name, value in arguments.items() if name not in _ROLES}
        made._recipe = parent._recipe.then(method, kept, take)


def recorded(method: Callable[Concatenate[S, Parameters], Results]) -> Callable[Concatenate[S, Parameters], Results]:
    """Let a method that returns Results write down how it was called; a decorator."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: S, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Results:
        made = method(self, *args, **kwargs)
        given = dict(signature.bind(self, *args, **kwargs).arguments)
        given.pop("self")
        note(made, self, method.__name__, given)
        return made

    return call
