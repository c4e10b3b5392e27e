"""Replication packages: a folder from which a data editor reruns a paper's tables, and checks that nothing changed."""

from deepdml.replication.lint import Finding, lint
from deepdml.replication.metadata import Author, DataSource, Metadata
from deepdml.replication.rawdata import read_data
from deepdml.replication.rerun import run
from deepdml.replication.verify import Verification, verify
from deepdml.replication.write import write_package

__all__ = [
    "Author",
    "DataSource",
    "Finding",
    "Metadata",
    "Verification",
    "lint",
    "read_data",
    "run",
    "verify",
    "write_package",
]
