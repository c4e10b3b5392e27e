"""MANIFEST.sha256: the hash of every file, as the sha256sum command writes and checks it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deepdml.errors import DataError

MANIFEST = "MANIFEST.sha256"
OUTPUT = "output"  # where the master script writes; never a part of the package
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what looking at a folder leaves on a Mac and on Windows


def sha256(path: Path) -> str:
    """Return the hash of a file in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Return the files of a package, relative and with forward slashes; without the manifest and what use leaves."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    passing = {p for p in found if p.parts[0] in (MANIFEST, OUTPUT) or {"__pycache__", *_LITTER} & {*p.parts}}
    return sorted(p.as_posix() for p in found if p not in passing)


def write_manifest(folder: Path) -> str:
    """Write the manifest and return its own hash."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in files_of(folder)]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8", newline="\n")
    return sha256(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, str]:
    """Return the hash of every file by name.

    Raises
    ------
    DataError
        If the folder is no package, or its manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder.resolve().name!r} is not a replication package: it has no {MANIFEST}.")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or name.startswith("/") or ".." in name.split("/"):
            raise DataError(f"{MANIFEST}: line {number} is not a hash, two spaces and a file of the package.")
        found[name] = digest
    return found


def check_files(folder: Path) -> dict[str, str]:
    """Return what is wrong with the files, one sentence for each, by name: missing, changed or not of the package."""
    listed = read_manifest(folder)
    present = set(files_of(folder))
    wrong = {name: f"{name}: missing; the manifest lists it" for name in listed if name not in present}
    wrong |= {name: f"{name}: not of the package; the manifest does not list it" for name in present - listed.keys()}
    for name in sorted(present & listed.keys()):
        if sha256(folder / name) != listed[name]:
            wrong[name] = f"{name}: changed since the package was written; its SHA-256 is not the manifest's"
    return wrong
