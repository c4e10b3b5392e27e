"""Whether what takes long says on the terminal how far it is."""

from __future__ import annotations

import sys


def shows_progress(progress: bool | None) -> bool:
    """Whether to show progress: where standard error is a terminal, unless `progress` is False."""
    return sys.stderr.isatty() and (progress is None or bool(progress))
