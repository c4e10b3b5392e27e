"""A user's torch module as a backbone, mapped over nets."""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from deepdml.errors import OptionError
from deepdml.learn.backbones.contract import Backbone, Part


@dataclass(frozen=True, slots=True)
class Module(Backbone):
    """The features of a module class that is called with the number of covariates p and maps (b, p) to (b, h).

    Modules run in evaluation mode: no dropout, and batch norms keep the statistics that they are made with. Weights of
    two and more axes are decayed.

    Parameters
    ----------
    path : str
        Where the class is found: module and qualified name, with a colon between.
    """

    name: ClassVar[str] = "module"
    default_hidden: ClassVar[tuple[int, ...]] = ()
    activations: ClassVar[tuple[str, ...]] = ("its own",)

    path: str

    def __post_init__(self) -> None:
        """Check that no widths are given, which a module would not read."""
        if self.hidden:
            raise OptionError(f"hidden={self.hidden} has no meaning for a backbone that is a module; leave it out.")

    @property
    def label(self) -> str:
        """Name of the candidate in diagnostics."""
        return self.name

    @property
    def config(self) -> dict[str, Any]:
        """The path of the class, too."""
        return super(Module, self).config | {"path": self.path}  # slots leave no class cell for a bare super()

    @property
    def _made(self) -> tuple[torch.nn.Module, int]:
        return _make(find(self.path), self.n_in)  # type: ignore[arg-type]  # classes are hashable

    @property
    def trunk(self) -> list[Part]:
        """The module's parameters, in its own order."""
        return [Part(tuple(p.shape), decayed=p.ndim > 1) for p in self._made[0].parameters()]

    @property
    def n_features(self) -> int:
        """What the module returns for each row."""
        return self._made[1]

    def draw(self, parts: list[Tensor], generators: list[torch.Generator]) -> None:
        """Start every net as a module made with its own seed; torch's own generator is left as it was."""
        for i, generator in enumerate(generators):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
                module = find(self.path)(self.n_in)
            for array, parameter in zip(parts, module.parameters(), strict=True):
                array[i].copy_(parameter.detach())

    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return the modules' outputs (s, b, h)."""
        module = self._made[0]
        names = [name for name, _ in module.named_parameters()]

        def one(own: dict[str, Tensor], rows: Tensor) -> Tensor:
            found: Tensor = functional_call(module, own, (rows,))
            return found

        out: Tensor = vmap(one)(dict(zip(names, parts[:-3], strict=True)), x)
        return out


@functools.cache
def _make(cls: type[torch.nn.Module], n_in: int) -> tuple[torch.nn.Module, int]:
    """Return a module for p covariates and the number of its features, checked."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = cls(n_in).eval()
        out = module(torch.zeros(3, n_in))
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 3:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise OptionError(
            f"backbone={cls.__name__}: for covariates (3, {n_in}) it returned {shape}; a backbone maps (rows, "
            "covariates) to (rows, features)."
        )
    if not all(p.dtype == torch.float32 for p in module.parameters()):
        raise OptionError(f"backbone={cls.__name__}: its parameters are not all float32.")
    return module, math.prod(out.shape[1:])


def find(path: str) -> type[torch.nn.Module]:
    """Return the module class at a path, from what is imported already: a file must not say what to import.

    Raises
    ------
    OptionError
        Where it is not imported, or no module class.
    """
    home, _, name = path.partition(":")
    try:
        found: Any = functools.reduce(getattr, name.split("."), sys.modules[home])
    except (KeyError, AttributeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise OptionError(
            f"the nets' features come from the torch module {name!r} of {home!r}, which is not to be found; import the "
            f"module that defines it at its top level."
        )
    return found
