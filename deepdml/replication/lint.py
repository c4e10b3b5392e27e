"""What a data editor's checks would find: absolute paths, empty or double files, personal data, unlisted imports."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deepdml.errors import DataError, list_rows, refuse_no_path
from deepdml.replication.environment import normal
from deepdml.replication.manifest import files_of, sha256

_TEXT = {".py", ".r", ".do", ".jl", ".m", ".sh", ".md", ".txt", ".tex", ".json", ".toml", ".yaml", ".yml", ".ipynb"}
_ABSOLUTE = re.compile(r"""(?:^|[\s"'`(=<\[])((?:[A-Za-z]:[\\/]|~/|/)[\w.~-]+[\\/][\w.~\\/-]*)""")
_ROWS = 10_000  # of a data file whose contents are looked at

_NAMES = {
    "a name": {"firstname", "lastname", "surname", "fullname", "fname", "lname", "givenname", "familyname"},
    "an email address": {"email", "mail", "emailaddress"},
    "a telephone number": {"phone", "telephone", "tel", "mobile", "cellphone", "phonenumber"},
    "a personal number": {"ssn", "socialsecurity", "nationalid", "passport", "taxid", "sin", "nin"},
    "an address": {"address", "street", "streetaddress", "homeaddress", "zip", "zipcode", "postcode", "postalcode"},
    "coordinates": {"latitude", "longitude", "lat", "lon", "lng", "gps", "coordinates"},
    "a date of birth": {"dob", "birthdate", "dateofbirth", "birthday"},
    "an address of a device": {"ip", "ipaddress", "macaddress"},
}
_CONTENT = {
    "an email address": (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"), 0.0),
    "a personal number": (re.compile(r"\d{3}-\d{2}-\d{4}"), 0.5),
    "a telephone number": (re.compile(r"\+?\(?\d{1,4}\)?[\s.-]\(?\d{2,4}\)?[\s.-]\d{3,4}([\s.-]\d{2,4})?"), 0.5),
    "coordinates": (re.compile(r"\(?-?\d{1,2}\.\d{3,},\s*-?\d{1,3}\.\d{3,}\)?"), 0.5),
    "an address": (re.compile(r"(?i)\d{1,5}\s+(\w+\s+){0,3}(street|st|avenue|ave|road|rd|lane|drive)\b.*"), 0.5),
    "an address of a device": (re.compile(r"(\d{1,3}\.){3}\d{1,3}"), 0.5),
}


def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, nrows=_ROWS)


def _stata(path: Path) -> pd.DataFrame:
    with pd.read_stata(path, iterator=True) as reader:
        return reader.read(_ROWS, convert_categoricals=False)


_READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _csv,
    ".dta": _stata,
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a data editor would ask about.

    Parameters
    ----------
    kind : str
        "absolute path", "empty file", "duplicate file", "personal data", "undeclared import" or "unreadable file".
    file : str
        Relative to the folder, with the line where there is one.
    message : str
        What it is and what to do.
    """

    kind: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}: {self.message}"


def lint(folder: str | Path) -> tuple[Finding, ...]:
    """Return what a data editor would ask about in a folder, a package of deepdml or another one.

    Parameters
    ----------
    folder : path

    Returns
    -------
    tuple of Finding
        In the order of the files; empty where there is nothing to ask.

    Raises
    ------
    DataError
        If there is no such folder.
    """
    refuse_no_path(folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {str(folder)!r}.")
    names = files_of(folder)
    found = [*_empty(folder, names), *_duplicates(folder, names)]
    for name in names:
        path = folder / name
        if path.suffix.lower() in _TEXT:
            found += _absolute_paths(path, name)
        if path.suffix == ".py":
            found += _undeclared(folder, path, name)
        if path.suffix.lower() in _READERS and path.stat().st_size:
            found += _personal(path, name)
    return tuple(sorted(found, key=lambda finding: (finding.file, finding.kind)))


def _empty(folder: Path, names: list[str]) -> list[Finding]:
    message = "it has zero bytes; remove it, or write it again if its content was lost"
    return [Finding("empty file", name, message) for name in names if not (folder / name).stat().st_size]


def _duplicates(folder: Path, names: list[str]) -> list[Finding]:
    sizes = defaultdict(list)
    for name in names:
        sizes[(folder / name).stat().st_size].append(name)
    by_hash = defaultdict(list)
    for size, same in sizes.items():
        if size and len(same) > 1:
            for name in same:
                by_hash[sha256(folder / name)].append(name)
    return [
        Finding("duplicate file", name, f"it has the bytes of {same[0]}; keep one of them")
        for same in by_hash.values()
        for name in same[1:]
    ]


def _absolute_paths(path: Path, name: str) -> list[Finding]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        for match in _ABSOLUTE.finditer(line):
            message = f"{match.group(1)} exists on one machine only; write it relative to the package"
            found.append(Finding("absolute path", f"{name}:{number}", message))
    return found


def _undeclared(folder: Path, path: Path, name: str) -> list[Finding]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except SyntaxError as error:
        return [Finding("unreadable file", f"{name}:{error.lineno}", f"it is not Python ({error.msg})")]
    declared = _declared(folder)
    owners = importlib.metadata.packages_distributions()
    found = []
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        for top in (module.partition(".")[0] for module in modules):
            local = (path.parent / f"{top}.py").is_file() or (path.parent / top).is_dir()
            if top in sys.stdlib_module_names or local:
                continue
            if not declared & {normal(owner) for owner in (*owners.get(top, ()), top)}:
                message = f"{top} is not in requirements.txt; add its distribution with the version used"
                found.append(Finding("undeclared import", f"{name}:{node.lineno}", message))  # type: ignore[attr-defined]  # both kinds of node have one
    return found


def _declared(folder: Path) -> set[str]:
    """Return the distributions that requirements files name; of a wheel, its first part."""
    found = set()
    for file in files_of(folder):
        if re.search(r"requirements[\w.-]*\.txt$", file):
            for line in (folder / file).read_text(encoding="utf-8", errors="replace").splitlines():
                text = line.strip().partition(" --hash")[0]
                if text and not text.startswith(("#", "-")):
                    base = text.rpartition("/")[2].partition("-")[0] if text.endswith(".whl") else text
                    found.add(normal(re.split(r"[^\w.-]", base, maxsplit=1)[0]))
    return found


def _personal(path: Path, name: str) -> list[Finding]:
    try:
        frame = _READERS[path.suffix.lower()](path).head(_ROWS)
    except (ValueError, OSError, ImportError) as error:
        return [Finding("unreadable file", name, f"its columns cannot be checked ({error})")]
    found: dict[str, list[str]] = defaultdict(list)
    for column in frame.columns:
        what = _by_name(str(column)) or _by_content(frame[column])
        if what:
            found[what].append(repr(str(column)))
    return [
        Finding(
            "personal data", name, f"{list_rows(columns)} may hold {what}; remove it or say why it may be published"
        )
        for what, columns in found.items()
    ]


def _by_name(column: str) -> str | None:
    """Return what a column's name says it holds; whole words count, and neighbouring words joined."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower()
    parts = [part for part in re.split(r"[^a-z]+", words) if part]
    joined = {"".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
    if parts == ["name"]:  # alone it may be a person's; "firm_name" is not
        return "a name"
    return next((what for what, names in _NAMES.items() if joined & names), None)


def _by_content(series: pd.Series) -> str | None:
    """Return what the texts of a column look like."""
    if not (series.dtype == object or pd.api.types.is_string_dtype(series.dtype)):
        return None
    texts = [value.strip() for value in series.dropna() if isinstance(value, str)]
    for what, (pattern, share) in _CONTENT.items():
        hits = sum(pattern.fullmatch(text) is not None for text in texts)
        if hits and hits > share * len(texts):
            return what
    return None
