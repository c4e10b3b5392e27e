"""Several estimands in one table, with one covariance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deepdml.errors import OptionError
from deepdml.estimands.base import Estimand, Evaluation, Sample, from_dict, register


@register
@dataclass(frozen=True)
class Stack(Estimand):
    """Estimands side by side: their psi are stacked, so that one covariance serves tests across them.

    Parameters
    ----------
    parts : tuple of Estimand
        In the order of the table.
    """

    name: ClassVar[str] = "several"

    parts: tuple[Estimand, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise OptionError("estimate([]) has nothing to estimate; give at least one estimand.")

    def distinct(self, labels: list[tuple[str, ...]]) -> tuple[str, ...]:
        """Return one label for each estimate; those that occur twice get the name of their kind, then a number."""
        twice = Counter(label for part in labels for label in part)
        seen: Counter[str] = Counter()
        found = []
        for part, names in zip(self.parts, labels, strict=True):
            for name in names:
                label = name if twice[name] == 1 else f"{part.title}: {name}"
                seen[label] += 1
                found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
        return tuple(found)

    def evaluate(self, sample: Sample) -> Evaluation:
        names = ", ".join(dict.fromkeys(part.title for part in self.parts))
        raise OptionError(
            f"a table of several estimands ({names}) has no one value for each row to sort or rank by; estimate the "
            "one you mean alone, one = res.estimate(...), and ask that table."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"estimand": self.name, "parts": [part.to_dict() for part in self.parts]}

    @classmethod
    def build(cls, stored: Mapping[str, Any]) -> Estimand:
        return cls(tuple(from_dict(part) for part in stored["parts"]))
