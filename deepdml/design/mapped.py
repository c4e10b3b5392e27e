"""Matrices in files: which arrays are read from one, and room in one for a matrix that memory should not hold."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError

LEAST = 64 * 2**20  # bytes; a smaller matrix is kept in memory, wherever its columns come from


def is_mapped(values: Any) -> bool:
    """Return whether an array reads from a file, or from an Arrow buffer that Arrow did not allocate."""
    while values is not None:
        if isinstance(values, mmap.mmap):
            return True
        if type(values).__module__.startswith("pyarrow"):
            return _in_foreign_buffers(values)
        values = getattr(values, "base", None)
    return False


def _in_foreign_buffers(values: Any) -> bool:
    chunks = getattr(values, "chunks", [values])
    buffers = [buffer for chunk in chunks for buffer in chunk.buffers()] if hasattr(values, "type") else [values]
    return any(buffer is not None and not buffer.is_mutable for buffer in buffers)


def room_for(shape: tuple[int, int], mapped: bool) -> NDArray[np.float32]:
    """Return an empty float32 matrix: in memory, or, where it is large and `mapped`, in a file without a name.

    The file stands in the directory of temporary files (TMPDIR) and goes with the last array that uses it.

    Raises
    ------
    DataError
        If the disk has no room for the file.
    """
    size = 4 * shape[0] * shape[1]
    if not mapped or size < LEAST:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="deepdml-") as file:
        try:
            # a hole that cannot be filled later would end the process, not raise
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            raise DataError(
                f"the covariates are read from files and need {size / 2**30:.2f} GiB on disk to stand together, which "
                f"{tempfile.gettempdir()!r} has not ({error.strerror}); set TMPDIR to a directory that has."
            ) from error
        return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))


def release(values: NDArray[Any]) -> None:
    """Let the system take back the memory behind a matrix in a file; what is used again is read again.

    A private mapping, which may hold changes of its own, is left alone.
    """
    base: Any = values
    while base is not None and not isinstance(base, mmap.mmap):
        if isinstance(base, np.memmap) and base.mode == "c":
            return
        base = getattr(base, "base", None)
    if base is not None and hasattr(base, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
