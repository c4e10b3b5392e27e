"""Tables in files, of the kind that the file's name ends in: data to be read, results to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from deepdml.errors import DataError, MissingLibraryError, OptionError, near_names

if TYPE_CHECKING:
    from deepdml.results import Results

READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path),
    ".parquet": lambda path: pd.read_parquet(path),
    ".dta": lambda path: pd.read_stata(path),
    ".feather": lambda path: pd.read_feather(path),
}


def _table_markdown(results: Results) -> str:
    """Return the coefficient table as a GitHub-flavoured Markdown table with the head of the summary under it."""
    from tabulate import tabulate

    interval = results.conf_int()
    table = pd.DataFrame(
        {
            "coef": results.params,
            "std err": results.bse,
            "z": results.tvalues,
            "P>|z|": results.pvalues,
            "[0.025": interval[0],
            "0.975]": interval[1],
        }
    )
    text = str(
        tabulate(table, headers="keys", tablefmt="github", floatfmt=("", ".4f", ".4f", ".3f", ".3f", ".4f", ".4f"))
    )
    return f"{text}\n\nn = {results.nobs:,.0f}; standard errors: {results.cov_type}.\n"


WRITERS: Mapping[str, Callable[[Any], str]] = {
    ".tex": lambda results: str(results.summary().as_latex()),
    ".html": lambda results: str(results.summary().as_html()),
    ".csv": lambda results: str(results.summary().as_csv()),
    ".txt": lambda results: str(results.summary().as_text()),
    ".md": _table_markdown,
}


def _choose(kind: str, path: Path, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Return the reader or writer for a file name's ending."""
    suffix = path.suffix.lower()
    if suffix not in known:
        allowed = f"allowed are {', '.join(known)}.{near_names(suffix, known)}"
        raise OptionError(f"{kind} {path.name!r} ends in {repr(suffix) if suffix else 'nothing'}; {allowed}")
    return known[suffix]


def writer(path: Path) -> Callable[[Results], str]:
    """Return what makes the text of a table file, or raise OptionError for another ending."""
    return _choose("table file", path, WRITERS)


def read_data(path: Path) -> pd.DataFrame:
    """Read a table from a .csv, .parquet, .dta or .feather file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    DataFrame

    Raises
    ------
    OptionError
        For another ending.
    MissingLibraryError
        If the format needs pyarrow and it is not installed.
    DataError
        If the file cannot be parsed.
    """
    reader = _choose("data file", path, READERS)
    try:
        data = reader(path)
    except ImportError as error:
        raise MissingLibraryError(f"reading {path.suffix} needs pyarrow: pip install pyarrow") from error
    except (ValueError, OSError) as error:  # pandas and pyarrow raise subclasses of these for damaged files
        raise DataError(f"{path.name!r} cannot be read as {path.suffix}: {error}") from error
    if data.empty:
        raise DataError(f"{path.name!r} has no rows.")
    other = next((mark for mark in (";", "\t") if mark in str(data.columns[0])), None)
    if len(data.columns) == 1 and other:
        raise DataError(f"{path.name!r} separates columns by {other!r}; write it with commas.")
    return data
