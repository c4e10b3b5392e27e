from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from deepdml.errors import OptionError
from deepdml.families import Family, Gamma, Gaussian, Logit, NegBin, Poisson, registered, resolve_family
from deepdml.families.base import register


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gaussian", Gaussian),
        ("linear", Gaussian),
        ("logit", Logit),
        ("binomial", Logit),
        ("poisson", Poisson),
        ("Poisson", Poisson),
        ("GAUSSIAN", Gaussian),
    ],
)
def test_names_and_aliases(name, expected):
    assert type(resolve_family(name)) is expected


def test_the_registry_lists_canonical_names_once():
    assert registered().items() >= {"gaussian": Gaussian, "logit": Logit, "poisson": Poisson}.items()
    assert all(name == family.name for name, family in registered().items())


@pytest.mark.parametrize("family", [Gaussian(), Logit(), Poisson()])
def test_families_and_classes_pass_through(family):
    assert resolve_family(family) is family
    assert type(resolve_family(type(family))) is type(family)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (sm.families.Gaussian(), Gaussian),
        (sm.families.Binomial(), Logit),
        (sm.families.Poisson(), Poisson),
        (sm.families.Gamma(sm.families.links.Log()), Gamma),
        (sm.families.NegativeBinomial(alpha=1.0), NegBin),
    ],
)
def test_statsmodels_families_with_their_canonical_links(family, expected):
    assert type(resolve_family(family)) is expected


@pytest.mark.parametrize(
    ("family", "link"),
    [
        (sm.families.Binomial(sm.families.links.Probit()), "Probit"),
        (sm.families.Gaussian(sm.families.links.Log()), "Log"),
        (sm.families.Poisson(sm.families.links.Identity()), "Identity"),
    ],
)
def test_other_links_are_refused_by_name(family, link):
    with pytest.raises(OptionError, match=rf"with link {link} is not available; deepdml's \w+ uses \w+"):
        resolve_family(family)


def test_statsmodels_families_without_a_counterpart_are_refused():
    with pytest.raises(OptionError, match=r"not understood; pass a name \(.*gaussian, .*poisson"):
        resolve_family(sm.families.Tweedie(sm.families.links.Log()))


@pytest.mark.parametrize(
    ("name", "near"), [("gausian", "gaussian"), ("poison", "poisson"), ("logistic", "logit"), ("binomail", "binomial")]
)
def test_unknown_names_come_with_near_ones(name, near):
    with pytest.raises(
        OptionError, match=rf"unknown family '{name}'; allowed are .*gaussian, .*Did you mean .*'{near}'"
    ):
        resolve_family(name)


@pytest.mark.parametrize("family", [3, None, np.mean, object()])
def test_anything_else_is_refused(family):
    with pytest.raises(OptionError, match="is not understood; pass a name"):
        resolve_family(family)


def test_a_new_family_is_one_class(monkeypatch):
    monkeypatch.setattr("deepdml.families.base._REGISTRY", {})

    @register
    class Half(Family):
        name = "half"
        aliases = ("demi",)

    assert registered() == {"half": Half}
    assert type(resolve_family("demi")) is Half
