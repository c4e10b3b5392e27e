"""The computing environment of a package: versions, threads and machine, and requirements that install it again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUMTHREADS")
_PIP_SECONDS = 300
_CPU_WHEELS = "https://download.pytorch.org/whl/"


def describe_environment(torch_threads: int, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return versions and machine as JSON values.

    Parameters
    ----------
    torch_threads : int
        Threads the fits ran with.
    extra : tuple of str
        Distributions the package needs beside deepdml's own requirements.
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory in GB": _memory(),
        "torch threads": torch_threads,
        "threads in the environment": {name: os.environ[name] for name in THREADS if name in os.environ},
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "packages": versions(("deepdml", *extra)),
    }


def _processor() -> str:
    """Return the model of the processor, which decides the last bits of a fit."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or "unknown"


def _memory() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def normal(name: str) -> str:
    """Return the name of a distribution as package indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(roots: tuple[str, ...]) -> dict[str, str]:
    """Return the installed version of distributions and of everything they need, by name."""
    found: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found[name] = distribution.version
        needed = [text for text in distribution.requires or () if "extra ==" not in text]
        waiting += [re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0] for text in needed]
    return dict(sorted(found.items()))


def installed(name: str) -> str | None:
    """Return the installed version of a distribution; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(packages: Mapping[str, str], wheel: str, wheel_hash: str, hashes: bool) -> tuple[str, str | None]:
    """Return the text of requirements.txt, and why it has no hashes (None where it has them).

    Parameters
    ----------
    packages : dict
        Versions by name; deepdml comes from `wheel`.
    wheel, wheel_hash : str
        Its path in the package and its SHA-256.
    hashes : bool
        Whether to ask pip's package index for the hashes of the archives; nothing else here uses the network.
    """
    pins = {name: version for name, version in packages.items() if name != "deepdml"}
    builds = {version.partition("+")[2] for version in pins.values() if "+" in version}
    sources = [f"--extra-index-url {_CPU_WHEELS}{build}" for build in sorted(builds) if re.match(r"cpu$|cu\d+$", build)]
    known, why = _archive_hashes(pins, sources) if hashes else ({}, "hashes=True was not asked for")
    lines = [*sources, f"./{wheel}" + (f" --hash=sha256:{wheel_hash}" if known else "")]
    for name, version in pins.items():
        lines.append(f"{name}=={version}" + (f" --hash=sha256:{known[name]}" if known else ""))
    return "\n".join(lines) + "\n", why


def _archive_hashes(pins: Mapping[str, str], sources: list[str]) -> tuple[dict[str, str], str | None]:
    """Return the hash of the archive that pip would install for each pin, or why it cannot say."""
    with tempfile.TemporaryDirectory() as name:
        wanted, report = Path(name) / "pins.txt", Path(name) / "report.json"
        wanted.write_text("\n".join([*sources, *(f"{k}=={v}" for k, v in pins.items())]), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        command += ["--retries", "1", "--timeout", "10", "--report", str(report), "-r", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return {}, f"pip did not answer within {_PIP_SECONDS} seconds"
        if done.returncode or not report.is_file():
            last = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:]
            return {}, f"pip could not find every package ({' '.join(last)[:200] or 'no message'})"
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {
        normal(item["metadata"]["name"]): item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        for item in items
    }
    lacking = [name for name in pins if not found.get(name)]
    return ({}, f"the index gives no hash for {', '.join(lacking)}") if lacking else (found, None)


def version_changes(recorded: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each package, and Python, that is not the one of a package's environment."""
    changes = []
    ours, theirs = (".".join(v.split(".")[:2]) for v in (platform.python_version(), recorded["python"]))
    if ours != theirs:
        changes.append(f"Python {theirs} was used, {ours} is running")
    for name, version in recorded["packages"].items():
        now = installed(name)
        if now != version:
            changes.append(f"{name} {version} was used, " + (f"{now} is installed" if now else "none is installed"))
    return changes


def same_machine(recorded: Mapping[str, Any]) -> bool:
    """Whether a rerun here must give the same bits: processor, system, Python and every package are those recorded."""
    here = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "os": f"{platform.system()} {platform.release()}",
        "threads in the environment": {name: os.environ[name] for name in THREADS if name in os.environ},
    }
    return all(recorded[key] == value for key, value in here.items()) and not version_changes(recorded)
