"""Checking a package: nothing missing or changed, tables that follow from psi, the same software, the same rerun."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepdml.errors import DataError, DeepDMLError, refuse_no_path
from deepdml.replication.artefacts import ARTEFACTS, TABLES, rebuild
from deepdml.replication.environment import other_builds, version_changes
from deepdml.replication.manifest import MANIFEST, check_files, read_manifest, sha256
from deepdml.replication.rerun import ESTIMATE, STANDARD_ERROR, rerun_script
from deepdml.replication.script import NAME

FORMAT = "deepdml-replication"
VERSION = 1

# what damaged files raise where they are read beside `deepdml.load`, which has one error for all of it
_DAMAGE = (OSError, ValueError, LookupError, TypeError)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a package found.

    Parameters
    ----------
    failures : tuple of str
        One sentence for each; empty for a package that passes.
    checks : tuple of str
        What was checked and is as it was.
    """

    failures: tuple[str, ...]
    checks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def __str__(self) -> str:
        return "\n".join([*self.failures, *self.checks])


def verify(folder: str | Path, *, rerun: bool = False, progress: bool | None = None) -> Verification:
    """Check a replication package; nothing in it is executed unless `rerun` is asked for.

    Parameters
    ----------
    folder : path
    rerun : bool
        Whether to run the master script, which trains every fit again, and to compare: to the bit where processor,
        system, packages and threads are those recorded, within the tolerance elsewhere.
    progress : bool, optional
        Whether a rerun shows a progress bar; by default where standard error is a terminal.

    Returns
    -------
    Verification

    Raises
    ------
    DataError
        If the folder is no replication package.
    """
    refuse_no_path(folder)
    folder = Path(folder)
    wrong = check_files(folder)
    failures, checks = list(wrong.values()), []
    if not wrong:
        manifest = sha256(folder / MANIFEST)
        checks.append(
            f"{len(read_manifest(folder)):,} files are as they were written; the manifest's hash is {manifest}"
        )
    if not wrong.keys() & {"config.json", "environment.json"}:
        config, environment = _read(folder, "config.json"), _read(folder, "environment.json")
        _check_format(config)
        tables = _check_tables(folder, config, set(wrong))
        checks += [] if tables else [f"{len(config['exhibits'])} table(s) follow from psi at full precision"]
        versions = version_changes(environment)
        checks += [] if versions else [_versions_found(environment)]
        failures += [*tables, *versions]
    if rerun and wrong:
        failures.append("the master script was not run: its files are not those of the package")
    elif rerun:
        again, passed = _check_rerun(folder, config, progress)
        failures, checks = failures + again, checks + passed
    return Verification(tuple(failures), tuple(checks))


def _versions_found(environment: dict[str, Any]) -> str:
    builds = other_builds(environment)
    return f"{len(environment['packages'])} packages have the recorded versions" + (
        f"; of them in another build, with which the last bits differ: {', '.join(builds)}" if builds else ""
    )


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{name} cannot be read ({error}); this is not a replication package of deepdml.") from error
    if not isinstance(values, dict):
        raise DataError(f"{name} is not a JSON object; this is not a replication package of deepdml.")
    return values


def _check_format(config: dict[str, Any]) -> None:
    if config.get("format") != FORMAT:
        raise DataError("config.json is not of a replication package of deepdml.")
    if config["version"] > VERSION:
        raise DataError(
            f"the package has format version {config['version']}, this deepdml reads up to {VERSION}; install the "
            "wheel in its software folder."
        )


def _check_tables(folder: Path, config: dict[str, Any], wrong: set[str]) -> list[str]:
    """Return what is wrong with tables whose files are as the manifest has them; others are known to be wrong."""
    found = []
    for entry in config["exhibits"]:
        files = (f"{ARTEFACTS}/{entry['slug']}/", f"{TABLES}/{entry['slug']}.", entry["results"], entry["psi"])
        if any(name.startswith(files) for name in wrong):
            continue
        try:
            found += rebuild(folder, entry)
        except (DeepDMLError, *_DAMAGE) as error:
            found.append(f"{entry['name']}: its files cannot be read ({error})")
    return found


def _check_rerun(folder: Path, config: dict[str, Any], progress: bool | None) -> tuple[list[str], list[str]]:
    """Return what differs after running the master script, and what does not."""
    recorded = sum(config.get("seconds", {}).values())  # packages of older versions do not say
    with tempfile.TemporaryDirectory() as output:
        try:
            report = rerun_script(folder, NAME, Path(output), recorded=recorded, progress=progress)
        except DeepDMLError as error:
            return [str(error)], []
    within = (
        "every bit"
        if report["exact"]
        else f"{ESTIMATE} standard errors and {STANDARD_ERROR:.0%} of standard errors, for the machine is another one"
    )
    passed = f"the rerun took {report['seconds']:.0f} seconds and agrees to {within}"
    return report["failures"], [] if report["failures"] else [passed]
