"""Regression tables for deep nets: average coefficients with influence-function standard errors.

Public names are imported when first used, so that importing deepdml does not import torch.

Where what lives, in the order in which data flow; an import never points back, which pyproject.toml enforces:

- design: formula and data to arrays;
- families: outcome families, their losses and derivatives;
- learn: arrays to theta, Lambda and psi, by cross-fitting; the only layer that imports torch;
- inference: psi to covariances;
- estimands: what is averaged over rows, and psi of it;
- results: the table of a fit, and all that can be asked of it without training again;
- model: DeepDML and fit, which join these; options checks what they are given;
- replication (packages), from_arrays, gallery, demo and the command, cli, with files: what is built on fits.

Beside these stand embed (texts and images to covariates), leakage (covariates that reveal the treatment), simulate
(designs with known truth), and, under all, errors and terminal.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "DeepDML": "deepdml.model",
    "fit": "deepdml.model",
    "structural_dml": "deepdml.from_arrays",
    "Results": "deepdml.results",
    "load": "deepdml.results",
    "joint": "deepdml.results.joint",
    "Table": "deepdml.results.tables",
    "etable": "deepdml.results.tables",
    "Conv": "deepdml.learn.architecture",
    "AverageCoefficient": "deepdml.estimands",
    "AverageMarginalEffect": "deepdml.estimands",
    "ChoiceProbability": "deepdml.estimands",
    "ConditionalQuantile": "deepdml.estimands",
    "ConditionalVariance": "deepdml.estimands",
    "ConsumerWelfare": "deepdml.estimands",
    "Contrast": "deepdml.estimands",
    "DoseResponse": "deepdml.estimands",
    "Elasticity": "deepdml.estimands",
    "IncidenceRateRatio": "deepdml.estimands",
    "OddsRatio": "deepdml.estimands",
    "OptimalPrice": "deepdml.estimands",
    "Overlap": "deepdml.estimands",
    "Profit": "deepdml.estimands",
    "TailProbability": "deepdml.estimands",
    "WillingnessToPay": "deepdml.estimands",
}
_MODULES = ("embed", "errors", "families", "leakage", "replication", "simulate")

__all__ = [
    "AverageCoefficient",
    "AverageMarginalEffect",
    "ChoiceProbability",
    "ConditionalQuantile",
    "ConditionalVariance",
    "ConsumerWelfare",
    "Contrast",
    "Conv",
    "DeepDML",
    "DoseResponse",
    "Elasticity",
    "IncidenceRateRatio",
    "OddsRatio",
    "OptimalPrice",
    "Overlap",
    "Profit",
    "Results",
    "Table",
    "TailProbability",
    "WillingnessToPay",
    "embed",
    "errors",
    "etable",
    "families",
    "fit",
    "joint",
    "leakage",
    "load",
    "replication",
    "simulate",
    "structural_dml",
]

if TYPE_CHECKING:
    from deepdml import embed, errors, families, leakage, replication, simulate
    from deepdml.estimands import (
        AverageCoefficient,
        AverageMarginalEffect,
        ChoiceProbability,
        ConditionalQuantile,
        ConditionalVariance,
        ConsumerWelfare,
        Contrast,
        DoseResponse,
        Elasticity,
        IncidenceRateRatio,
        OddsRatio,
        OptimalPrice,
        Overlap,
        Profit,
        TailProbability,
        WillingnessToPay,
    )
    from deepdml.from_arrays import structural_dml
    from deepdml.learn.architecture import Conv
    from deepdml.model import DeepDML, fit
    from deepdml.results import Results, load
    from deepdml.results.joint import joint
    from deepdml.results.tables import Table, etable


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"deepdml.{name}")
    raise AttributeError(f"module 'deepdml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
