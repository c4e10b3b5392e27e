"""Tables of several fits side by side, for papers."""

from deepdml.results.tables.etable import etable
from deepdml.results.tables.table import Table

__all__ = ["Table", "etable"]
