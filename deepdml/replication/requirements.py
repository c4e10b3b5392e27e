"""requirements.txt: exact versions, with the hashes of the archives where pip's package index can be asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepdml.replication.environment import normal, public

FILE = "requirements.txt"
PLAIN = "requirements-no-hashes.txt"

# An older pip (before 26) downloads every archive to hash it; a recent one reads the hashes from the index.
_SECONDS = {None: 60, True: 1_800}
_INDEX_OF_BUILDS = "https://download.pytorch.org/whl/"


@dataclass(frozen=True, slots=True)
class Requirements:
    """What installs the software of a package again.

    Parameters
    ----------
    pinned : str
        Exact versions, for pip on any system.
    hashed : str or None
        The same with the hash of each archive that pip installs on a system like this one; pip then takes no other.
    why : str or None
        Why there are no hashes.
    """

    pinned: str
    hashed: str | None
    why: str | None

    def write(self, folder: Path) -> None:
        """Write requirements.txt, and beside one with hashes the same without."""
        texts = {FILE: self.pinned} if self.hashed is None else {FILE: self.hashed, PLAIN: self.pinned}
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")


def make_requirements(packages: Mapping[str, str], wheel: str, wheel_hash: str, hashes: bool | None) -> Requirements:
    """Return the requirements of an environment.

    Parameters
    ----------
    packages : dict
        Versions by name; deepdml comes from `wheel`.
    wheel, wheel_hash : str
        Its path in the package and its SHA-256.
    hashes : bool or None
        Whether to ask pip's package index for hashes; None asks and soon gives up. Nothing else uses the network.
    """
    pins = {name: version for name, version in packages.items() if name != "deepdml"}
    local = {version.partition("+")[2] for version in pins.values() if "+" in version}
    sources = [f"--extra-index-url {_INDEX_OF_BUILDS}{build}" for build in sorted(local) if _is_torch_build(build)]
    # without the label of a build: there is none for a Mac, and where there is one pip prefers it
    pinned = [f"./{wheel}", *(f"{name}=={public(version)}" for name, version in pins.items())]
    known, why = ({}, "hashes=False was asked for") if hashes is False else _hashes(pins, sources, _SECONDS[hashes])
    hashed = None
    if not why:
        lines = [f"{name}=={version} --hash=sha256:{known[name]}" for name, version in pins.items()]
        hashed = _text([*sources, f"./{wheel} --hash=sha256:{wheel_hash}", *lines])
    return Requirements(_text([*sources, *pinned]), hashed, why)


def ask_notice(count: int, hashes: bool | None) -> str:
    """Return what a progress line says while the requirements of `count` packages are made."""
    if hashes is False:
        return "requirements"
    return f"pip is asked for the hashes of {count} packages, for {_SECONDS[hashes]:,} seconds at most"


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _is_torch_build(label: str) -> bool:
    return re.match(r"cpu$|cu\d+$", label) is not None


def _hashes(pins: Mapping[str, str], sources: list[str], seconds: int) -> tuple[dict[str, str], str | None]:
    """Return the hash of the archive that pip would install for each pin, or why it cannot say."""
    builds = {name: version for name, version in pins.items() if _is_torch_build(version.partition("+")[2])}
    rest = {name: version for name, version in pins.items() if name not in builds}
    found: dict[str, str] = {}
    deadline = time.monotonic() + seconds
    for asked, where in ((rest, []), (builds, sources)):
        try:
            known, why = _ask_pip(asked, where, max(deadline - time.monotonic(), 0.0)) if asked else ({}, None)
        except subprocess.TimeoutExpired:
            return {}, f"pip did not answer within {seconds} seconds"
        if why:
            return {}, why
        found |= known
    lacking = [name for name in pins if name not in found]
    return ({}, f"the index gives no hash for {', '.join(lacking)}") if lacking else (found, None)


def _ask_pip(pins: Mapping[str, str], sources: list[str], seconds: float) -> tuple[dict[str, str], str | None]:
    """Return hashes from the report of an installation that is not carried out, or why there is none.

    Raises
    ------
    subprocess.TimeoutExpired
        If pip takes longer.
    """
    with tempfile.TemporaryDirectory() as name:
        wanted, report = Path(name) / "pins.txt", Path(name) / "report.json"
        wanted.write_text(_text([*sources, *(f"{k}=={v}" for k, v in pins.items())]), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        command += ["--retries", "1", "--timeout", "10", "--report", str(report), "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode or not report.is_file():
            lines = done.stderr.strip().splitlines()
            last = [line for line in lines if line.startswith("ERROR")][-1:] or lines[-1:] or ["no message"]
            return {}, f"pip could not find every archive ({last[0][:200]})"
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {
        normal(item["metadata"]["name"]): item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        for item in items
    }
    return {name: digest for name, digest in found.items() if digest}, None
