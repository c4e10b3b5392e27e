"""What a fit's `backbone` option says, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepdml.errors import refuse_no_whole


@dataclass(frozen=True, slots=True)
class Conv:
    """A small convolutional net on covariates that are the pixels of images: ``backbone=dd.Conv(8, 8)``.

    Parameters
    ----------
    height, width, channels : int
        Shape of an image. Columns run as in a flattened array (height, width, channels).
    columns : str
        Glob of the covariates that are the image; the others join after the convolutions. By default all are.

    Raises
    ------
    OptionError
        For a size below one.

    Examples
    --------
    >>> from deepdml import Conv
    >>> Conv(8, 8, columns="pixel_*").size
    64
    """

    height: int
    width: int
    channels: int = 1
    columns: str = "*"

    def __post_init__(self) -> None:
        """Check the shape, and keep it as Python's numbers, which files and messages show as such."""
        for name in ("height", "width", "channels"):
            value = getattr(self, name)
            refuse_no_whole(f"Conv: {name}", value, 1)
            object.__setattr__(self, name, int(value))

    @property
    def size(self) -> int:
        """Number of columns of an image."""
        return self.height * self.width * self.channels


@dataclass(frozen=True, slots=True)
class Architecture:
    """A backbone by name, with the options that only it has, as JSON values."""

    name: str = "mlp"
    options: Mapping[str, Any] = field(default_factory=dict)
