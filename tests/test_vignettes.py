"""The vignettes run as they stand, warnings as errors, and print what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

VIGNETTES = sorted((Path(__file__).resolve().parents[1] / "vignettes").glob("*.py"))


@pytest.mark.parametrize("path", VIGNETTES, ids=lambda p: p.stem)
def test_vignette_runs(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert "Structural DML Results" in capsys.readouterr().out


def test_there_are_vignettes():
    assert VIGNETTES
