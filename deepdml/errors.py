"""The exceptions and warnings of deepdml.

Every exception is also a ``ValueError`` or a ``TypeError``, so code that catches those goes on working.
Messages say what was wrong, the value, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
import math
import numbers
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TypeGuard

_PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class DeepDMLError(Exception):
    """Root of everything deepdml raises on purpose."""


class FormulaError(DeepDMLError, ValueError):
    """The formula cannot be read, or names something that does not exist."""


class DataError(DeepDMLError, ValueError):
    """The data cannot be used: shapes, missing values, support, categories, duplicates."""


class OptionError(DeepDMLError, ValueError):
    """An option has a value that is not allowed or does not fit the model."""


class OverlapError(DeepDMLError, ValueError):
    """The treatment does not vary enough given the covariates to identify the coefficients."""


class MissingLibraryError(DeepDMLError, ImportError, ValueError):
    """An optional library is needed and not installed."""


class ResultsFileError(DeepDMLError, ValueError):
    """A saved Results file is damaged or of another format."""


class DeepDMLWarning(UserWarning):
    """Root of the warnings; each one of a fit also stands in the summary's foot."""


class OverlapWarning(DeepDMLWarning):
    """Propensities were clipped or eigenvalues of Lambda floored in more than one per cent of rows."""


class FitWarning(DeepDMLWarning):
    """Held-out residuals of outcome and treatment still vary with the covariates: the estimate may be biased."""


class EmbeddingWarning(DeepDMLWarning):
    """Texts are longer than their encoder reads."""


class DimensionWarning(DeepDMLWarning):
    """The covariates of an embedding are many for the rows; fewer components of it are advised."""


class InferenceWarning(DeepDMLWarning):
    """The covariance asked for is not what the fit supports, or is fragile (few clusters)."""


def warn(note: str, category: type[DeepDMLWarning]) -> None:
    """Warn of the line that called into deepdml, however deep inside the package the reason was found.

    Parameters
    ----------
    note : str
        The message.
    category : type
        One of the warnings above.
    """
    # from Python 3.12 on, warnings.warn does this itself, by skip_file_prefixes
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(note, category, stacklevel=level)


def near_names(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'a' or 'b'?`` for the names closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def near_columns(name: str, columns: Iterable[str], index: Iterable[object] = ()) -> str:
    """Return what to do about a name that is no column: near names, or that it is a level of the index."""
    if name in index:
        return f" It is a level of the index; make it a column: data.reset_index({name!r})."
    return near_names(name, columns)


def list_rows(labels: Sequence[object], limit: int = 5) -> str:
    """Return row labels for a message: the first `limit`, then how many more."""
    shown = ", ".join(str(label) for label in labels[:limit])
    more = len(labels) - limit
    return f"{shown} and {more:,} more" if more > 0 else shown


def refuse_no_number(name: str, value: object, meaning: str) -> None:
    """Raise OptionError for anything but one finite number; `meaning` says what it is and what to write."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        shown = f"a {type(value).__name__}" if hasattr(value, "__array__") else repr(value)
        raise OptionError(f"{name} is {shown}; it must be {meaning}.")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, of Python or of numpy; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def refuse_no_whole(name: str, value: object, least: int) -> None:
    """Raise OptionError for anything but a whole number of at least `least`: 0 for a seed, 1 for how often."""
    if not is_whole(value) or value < least:
        raise OptionError(f"{name}={value!r} is not a whole number of at least {least}.")


def refuse_no_path(path: object) -> None:
    """Raise OptionError for what does not name a file."""
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"a file is named by a text or a path, not by {path!r}.")


def refuse_lost_folder(path: str | os.PathLike[str]) -> None:
    """Raise OptionError for what is no file to be written: no path, a folder, or in one that does not exist."""
    refuse_no_path(path)
    if os.path.isdir(path):
        raise OptionError(f"{os.fspath(path)!r} is a folder; add the name of the file.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise OptionError(f"file {os.fspath(path)!r} cannot be written: there is no folder {folder!r}.")


def unknown_option(kind: str, value: object, allowed: Iterable[str]) -> OptionError:
    """Return the error for a value of option `kind` that is not one of `allowed`."""
    names = [str(a) for a in allowed]
    return OptionError(f"unknown {kind} {value!r}; allowed are {', '.join(names)}.{near_names(str(value), names)}")
