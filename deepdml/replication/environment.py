"""The computing environment of a package: versions, threads and machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUMTHREADS")


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
            continue
        found[name] = distribution.version
        needed = [Requirement(text) for text in distribution.requires or ()]
        waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return dict(sorted(found.items()))


def public(version: str) -> str:
    """Return a version without the label of its build: "2.13.0" of "2.13.0+cpu"."""
    return version.partition("+")[0]


def installed(name: str) -> str | None:
    """Return the installed version of a distribution; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def version_changes(recorded: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each package, and Python, of another version than in a package's environment."""
    changes = []
    ours, theirs = (".".join(v.split(".")[:2]) for v in (platform.python_version(), recorded["python"]))
    if ours != theirs:
        changes.append(f"Python {theirs} was used, {ours} is running")
    for name, version in recorded["packages"].items():
        now = installed(name)
        if now is None or public(now) != public(version):
            changes.append(f"{name} {version} was used, " + (f"{now} is installed" if now else "none is installed"))
    return changes


def other_builds(recorded: Mapping[str, Any]) -> list[str]:
    """Return one phrase for each package that is here in another build of the recorded version."""
    found = {name: (version, installed(name)) for name, version in recorded["packages"].items()}
    return [
        f"{name} {now} for {version}"
        for name, (version, now) in found.items()
        if now and now != version and public(now) == public(version)
    ]


def same_machine(recorded: Mapping[str, Any]) -> bool:
    """Whether a rerun here must give the same bits: processor, system, Python and every package are those recorded."""
    here = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "os": f"{platform.system()} {platform.release()}",
        "threads in the environment": {name: os.environ[name] for name in THREADS if name in os.environ},
    }
    software = [*version_changes(recorded), *other_builds(recorded)]
    return all(recorded[key] == value for key, value in here.items()) and not software
