"""check_family: says yes to what keeps the contract, and which sentence of it a broken family breaks."""

from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroParam
from torch.distributions import constraints

from lowerbound.inference import EM, fit
from lowerbound.models import (
    AllowsFrozen,
    Conjugate,
    ExponentialFamily,
    Family,
    Gaussian,
    Mixture,
    Poisson,
    SideBySide,
    TakesMissing,
    check_family,
)
from lowerbound.models.families.conjugate_priors import Priors
from lowerbound.models.kernels.linear_pass import CompiledLinearPass, identity_pairs
from lowerbound.models.kernels.visit import Visit

COUNTS = np.random.default_rng(0).poisson(np.repeat([[2.0, 9.0], [7.0, 1.0]], 60, axis=0)).astype(float)


class Own(Family):
    """Poisson counts, as a user writes them: each test breaks one thing."""

    def __init__(self, components=2, features=2, dtype=torch.float64):
        super().__init__()
        self.rate = PyroParam(torch.ones(components, features, dtype=dtype), constraints.positive)

    def component(self, z=...):
        return dist.Poisson(self.rate[z]).to_event(1)

    def statistics(self, x):
        return x

    def match(self, mean):
        self.rate = mean


def broken(**methods):
    return type("Broken", (Own,), methods)()


def test_a_family_that_keeps_the_contract_passes_and_is_left_alone():
    family = Own()
    check_family(family, COUNTS)
    assert not family.is_set and torch.equal(family.rate.detach(), torch.ones(2, 2).double())
    check_family(Gaussian(2, 2, "tied", prior="weak"), COUNTS)


def poisson_pass(family, factor=1.0, collect=1):
    """What a linear pass of two Poisson columns is: sums of T(x) = x."""
    rate = family.rate.detach()
    coefficients = torch.cat([-rate.sum(1, keepdim=True), factor * rate.log()], 1)
    return CompiledLinearPass(
        torch.zeros(2).double(), identity_pairs(2), coefficients, lambda total, _: collect * total[:, 1:],
        carrier=lambda x: -torch.lgamma(x + 1).sum(1),
    )  # fmt: skip


def test_a_linear_pass_may_be_written_too():
    check_family(broken(visit=lambda self: replace(Family.visit(self), compiled=lambda: poisson_pass(self))), COUNTS)


class _Kept(Own):
    """Sets nothing."""

    def match(self, mean):
        pass


class _Fading(Own):
    """A component without weight gets a rate of NaN."""

    def maximize(self, weight, total, length=1.0):
        self.rate_unconstrained.data = (total / weight.unsqueeze(-1)).log()


FAULTS = {
    "torch distribution": (
        broken(
            component=lambda self, z=...: torch.distributions.Independent(torch.distributions.Poisson(self.rate[z]), 1)
        ),
        r"component\(\) is a Independent, expected one of pyro.distributions",
    ),
    "no event": (
        broken(component=lambda self, z=...: dist.Poisson(self.rate[z])),
        r"event shape \(\), expected \(components,\) and \(columns,\): columns become one by .to_event\(1\)",
    ),
    "z ignored": (
        broken(component=lambda self, z=...: dist.Poisson(self.rate).to_event(1)),
        r"of \(5, 1\) indices has batch shape \(2,\), expected \(5, 1\)",
    ),
    "z of one dimension": (
        broken(
            component=lambda self, z=...: dist.Poisson(
                self.rate if z is ... else self.rate.index_select(0, z.reshape(-1))
            ).to_event(1)
        ),
        r"of \(5, 1\) indices has batch shape \(5,\), expected \(5, 1\): index all parameters by z",
    ),
    "other members": (
        broken(
            component=lambda self, z=...: dist.Poisson(self.rate.flip(0)[z] if z is ... else self.rate[z]).to_event(1)
        ),
        r"component\(z\) differs from component\(\)",
    ),
    "float32": (Own(dtype=torch.float32), "rate is torch.float32, expected torch.float64"),
    "columns": (Own(features=3), "rows of 2 columns, expected 3"),
    "log_prob": (
        broken(log_prob=lambda self, x: Own.log_prob(self, x) + 0.1),
        r"differs from component\(\).log_prob by",
    ),
    "not additive": (
        broken(summarize=lambda self, x, r: Own.summarize(self, x, r) / len(x)),
        "not the sum over two halves",
    ),
    "wrong match": (broken(match=lambda self, mean: setattr(self, "rate", 1.1 * mean)), "still has a slope of 0.4"),
    "downhill": (
        broken(match=lambda self, mean: setattr(self, "rate", mean.flip(0))),
        r"lowers the expected log-likelihood|still has a slope",
    ),
    "unset": (_Kept(), r"match\(\) left rate unset"),
    "fading": (_Fading(), "a component without weight became impossible|left rate unset"),
    "permute": (broken(permute=lambda self, order: None), r"permute\(\) does not relabel"),
    "visit": (
        broken(visit=lambda self: Visit(lambda x: (self.log_prob(x), lambda r: 2 * self.summarize(x, r)))),
        r"visit\(\) differs",
    ),
    "linear": (
        broken(visit=lambda self: replace(Family.visit(self), compiled=lambda: poisson_pass(self, 1.01))),
        r"the compiled pass of visit\(\) differs",
    ),
    "linear sums": (
        broken(visit=lambda self: replace(Family.visit(self), compiled=lambda: poisson_pass(self, collect=2))),
        r"the compiled pass of visit\(\) differs",
    ),
    "free": (broken(free_parameters=lambda self: 5), r"free_parameters\(\) is 5, expected at most 4"),
}


@pytest.mark.parametrize(("family", "words"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_named(family, words, as_users_run_it):
    with pytest.raises(ValueError, match=words):
        check_family(family, COUNTS)


def test_what_is_no_family_and_rows_that_it_cannot_give(as_users_run_it):
    with pytest.raises(TypeError, match="got Poisson, expected a Family"):
        check_family(dist.Poisson(1.0), COUNTS)
    with pytest.raises(ValueError, match="row 3, column 1 holds -1, expected"):
        check_family(Own(), np.where(np.arange(240).reshape(120, 2) == 7, -1.0, COUNTS))
    with pytest.raises(ValueError, match="got 3 rows, expected some for each of 2 components"):
        check_family(Own(), COUNTS[:3])


class Leaping(Own):
    """A generalized M-step that goes the right way and much too far: ten times the way to the best rates, in logs."""

    generalized = True

    def maximize(self, weight, total, length=1.0):
        best = (total / weight.unsqueeze(-1)).log()
        now = self.rate_unconstrained.detach()
        self.rate = (now + 10 * length * (best - now)).exp()

    def match(self, mean):
        self.rate = mean

    def start(self, x, responsibilities):
        self.match(responsibilities.T @ x / responsibilities.sum(0).unsqueeze(-1))


def test_em_shortens_the_steps_of_a_generalized_family_until_its_bound_does_not_fall():
    """The guard at work: ten times too long a step diverges at once, halved three times it is none too long."""
    exact = fit(Mixture(Own()), COUNTS, EM())
    leaping = fit(Mixture(Leaping()), COUNTS, EM(), max_passes=2000)
    assert leaping.bounds.diff().min() >= -1e-10
    assert float(leaping.bounds[-1]) == pytest.approx(float(exact.bounds[-1]), abs=1e-7)
    unguarded = type("Unguarded", (Leaping,), {"generalized": False})
    with pytest.raises(ArithmeticError):
        fit(Mixture(unguarded()), COUNTS, EM())


# the abilities that a family claims


class Rates(Own, ExponentialFamily, Conjugate, TakesMissing, SideBySide):
    """Poisson counts with all abilities, rewritten here: each test breaks one of them."""

    def __init__(self, components=2, features=2):
        Own.__init__(self, components, features)
        self.priors = Priors(None, {"rate": (torch.distributions.Gamma, (features,))})

    def natural(self):
        return self.rate.log(), -self.rate

    def carrier(self, x):
        return -torch.lgamma(x + 1)

    def expected_statistics(self):
        return self.rate

    def weak_belief(self, data):
        return {"rate": torch.distributions.Gamma(torch.ones_like(data.mean), torch.ones_like(data.mean))}

    def gain(self, weight, total):
        return {"rate": {"concentration": total, "rate": weight.unsqueeze(-1).expand_as(total)}}

    def expected(self, beliefs):
        belief = beliefs["rate"]
        log_rate = torch.digamma(belief.concentration) - belief.rate.log()
        return self.at({"rate": log_rate.exp()}), (log_rate.exp() - belief.mean).sum(-1)

    def predictive(self, beliefs):
        return dist.GammaPoisson(beliefs["rate"].concentration, beliefs["rate"].rate).to_event(1)


class Spread(Own, AllowsFrozen):
    """Gaussian columns whose M-step ignores which parameters are frozen."""

    def __init__(self):
        Own.__init__(self)
        del self.rate
        self.loc = PyroParam(torch.zeros(2, 2).double(), constraints.real)
        self.scale = PyroParam(torch.ones(2, 2).double(), constraints.positive)

    def component(self, z=...):
        return dist.Normal(self.loc[z], self.scale[z]).to_event(1)

    def statistics(self, x):
        return torch.cat([x, x**2], -1)

    def match(self, mean):
        first, second = mean.chunk(2, -1)
        self.loc, self.scale = first, (second - first**2).sqrt()


class OfAllCopies(Rates):
    """A log prior that sums over all copies."""

    def log_prior(self):
        return -self.rate.sum()

    def pseudo_rows(self):
        return torch.ones(2).double(), torch.zeros(2).double()


def with_fault(**methods):
    return type("Faulty", (Rates,), methods)()


UNKEPT = {
    "TakesMissing": (
        with_fault(expected_statistics=lambda self: 3 * self.rate),
        r"of the observed values .*or expected_statistics\(\) is not",
    ),
    "AllowsFrozen": (Spread(), "Spread, loc frozen: where maximize"),
    "SideBySide: density": (
        with_fault(log_prob=lambda self, x: Rates.log_prob(self, x) + 1 - self.copies),
        r"side by side .* differ in log_prob\(\)",
    ),
    "SideBySide: sums": (
        with_fault(summarize=lambda self, x, r: Rates.summarize(self, x, r) * self.copies),
        r"side by side .* differ in summarize\(\)",
    ),
    "SideBySide: M-step": (
        with_fault(match=lambda self, mean: setattr(self, "rate", mean * (0.9 + 0.1 * self.copies))),
        r"side by side .* differ in the compiled|side by side .* differ after maximize\(\)",
    ),
    "SideBySide: prior": (OfAllCopies(), r"side by side .* differ in log_prior\(\)"),
    "SideBySide: collapse": (
        with_fault(collapsed=lambda self, weights: weights * self.components > 1.5),
        r"side by side .* differ in collapsed\(\)",
    ),
    "SideBySide: size": (
        with_fault(outside=lambda self, x: None, match=lambda self, mean: setattr(self, "rate", mean[:2])),
        r"side by side .* fail with 'rate got shape",
    ),
    "HasExpectedLogProb": (
        with_fault(expected_log_prob=lambda self, weight, total: 2 * Rates.expected_log_prob(self, weight, total)),
        r"gradient of expected_log_prob\(\) in rate differs",
    ),
    "HasExpectedLogProb: shape": (
        with_fault(expected_log_prob=lambda self, weight, total: Rates.expected_log_prob(self, weight, total).sum()),
        r"expected_log_prob\(\) has shape \(\), expected \(2,\)",
    ),
    "Conjugate: gain": (
        with_fault(gain=lambda self, weight, total: {"rate": {"concentration": total, "rate": 2 * total}}),
        r"predictive\(\) gives a row .* Bayes' rule with gain\(\)",
    ),
    "Conjugate: predictive": (
        with_fault(predictive=lambda self, beliefs: dist.Poisson(beliefs["rate"].mean).to_event(1)),
        r"predictive\(\) gives a row",
    ),
    "Conjugate: expected": (
        with_fault(expected=lambda self, beliefs: (self.at({"rate": beliefs["rate"].mean}), torch.zeros(2).double())),
        r"expected\(\) makes the log evidence of a row",
    ),
}


def test_a_family_with_all_abilities_passes():
    check_family(Rates(), COUNTS)


@pytest.mark.parametrize(("family", "words"), UNKEPT.values(), ids=UNKEPT)
def test_each_ability_that_is_claimed_is_tested(family, words, as_users_run_it):
    with pytest.raises(ValueError, match=words):
        check_family(family, COUNTS)


# families written for earlier versions


def test_hooks_and_flags_by_their_old_names_work_with_a_warning():
    with pytest.warns(DeprecationWarning) as told:

        class Old(Own):
            takes_missing = True
            units = None

            def expected_statistics(self):
                return self.rate

            def anchor(self, centres, data):
                self.units = data.mean

            def places(self):
                return None

    words = [str(warning.message) for warning in told]
    assert words == [
        "Old.anchor is now called set_units",
        "Old.places is now called fixed_location",
        "Old has takes_missing = True, now said by its class line: class Old(..., TakesMissing)",
    ]
    check_family(Old(), COUNTS)
    torn = COUNTS.copy()
    torn[::7, 0] = np.nan
    old, new = (fit(Mixture(family), torn, EM()) for family in (Old(), Poisson(2, 2)))
    torch.testing.assert_close(old.bounds, new.bounds)
    assert old.model.family.units is not None


def test_abilities_of_earlier_versions_are_adopted():
    with pytest.warns(DeprecationWarning, match=r"class Summed\(..., HasExpectedLogProb\)"):

        class Summed(Own):
            def expected_log_prob(self, weight, total):
                return (total * self.rate.log()).sum(-1) - weight * self.rate.sum(-1)

    with pytest.warns(DeprecationWarning, match=r"repeatable = True.*class Copied\(..., SideBySide\)"):

        class Copied(Own):
            repeatable = True

    with pytest.warns(DeprecationWarning, match=r"Careless.conditional is now called allows_frozen|AllowsFrozen"):

        class Careless(Own):
            conditional = True

    assert Summed.has_expected_log_prob and Careless.allows_frozen and Copied.repeatable
    for kind in (Summed, Copied, Careless):
        check_family(kind(), COUNTS)


def test_old_names_may_be_called_and_set():
    """`super().anchor`, `self.per_copy`, flags set in __init__; and a class of the user's called like an ability."""
    with pytest.warns(DeprecationWarning) as told:

        class TakesMissing(Family):
            pass

        class Old(Own):
            def __init__(self):
                super().__init__()
                self.takes_missing = True
                self.conditional = True

            def expected_statistics(self):
                return self.rate

            def anchor(self, centres, data):
                super().anchor(centres, data)
                self.units = data.mean

            def log_prior(self):
                return self.per_copy(self.rate * 0)

        old = Old()
        torn = COUNTS.copy()
        torn[::7, 0] = np.nan
        found = fit(Mixture(old), torn, EM())
    words = {str(warning.message) for warning in told}
    assert {
        "Old.anchor is now called set_units",
        "Old.per_copy is now called sum_per_copy",
        "Old.conditional is now called allows_frozen",
    } < words
    assert old.allows_frozen and found.model.family.units is not None
    torch.testing.assert_close(found.bounds, fit(Mixture(Poisson(2, 2)), torn, EM()).bounds)
    with pytest.warns(FutureWarning, match=r"Believer writes beliefs\(\), which is no longer called"):

        class Believer(Own):
            def beliefs(self, prior):
                return prior
