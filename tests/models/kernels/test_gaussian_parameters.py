"""The compiled steps between two passes of Gaussians, against torch's, which are kept for GPUs and many columns."""

import copy

import numpy as np
import pytest
import torch

from lowerbound.models import GaussianMixture, Rows, seed
from lowerbound.models.families import gaussian, gaussian_m_step
from lowerbound.models.families.copies import own_tensors
from lowerbound.models.kernels import gaussian_pass

STRUCTURES = ["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"]
USERS = (gaussian, gaussian_m_step, gaussian_pass)


def table(d, n=150):
    """Columns of very different units, whose means are far from zero."""
    rng = np.random.default_rng(d)
    return torch.tensor(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-3, 4, d) + 1e3)


@pytest.fixture
def by_torch(monkeypatch):
    """Call it to take torch's steps from then on."""

    def switch():
        for module in USERS:
            monkeypatch.setattr(module, "can_compile_parameters", lambda origin: False)

    return switch


def after(model, x, passes=4):
    """Statistics and parameters after some passes."""
    for _ in range(passes):
        statistics = model.expect(x)
        model.maximize(statistics)
    parameters = model.family.loc, model.family.scale_parameter, model.weights
    return [statistics.bound, statistics.total, *(value.detach() for value in parameters)]


@pytest.mark.parametrize("prior", [None, "weak"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_they_are_those_of_torch(structure, prior, by_torch):
    x = table(4)
    model = seed(GaussianMixture(3, 4, structure, prior=prior), x)
    compiled = after(copy.deepcopy(model), x)
    by_torch()
    for ours, theirs in zip(compiled, after(model, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max()))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_restarts_side_by_side(structure, by_torch):
    """Components of one copy share their covariance with one another, not with those of other copies."""
    x = table(2)
    rows, generators = Rows(x), [torch.Generator().manual_seed(i) for i in range(3)]
    model = seed(GaussianMixture(2, 2, structure), x)
    found = []
    for switch in (lambda: None, by_torch):
        switch()
        batch = model.batch(rows, [torch.Generator().set_state(one.get_state()) for one in generators])
        for _ in range(3):
            assert batch.maximize(batch.expect(x, None, None)).all()
        found.append([batch.weights, *(tensor.detach() for tensor in own_tensors(batch.family))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_components_that_rounding_would_cost_digits_are_left_to_torch():
    """A component far from its origin, a thin one, an empty one, and a singular covariance."""
    x = table(2)
    family = seed(GaussianMixture(2, 2), x).family
    ordinary = family.summarize(x, torch.full((len(x), 2), 0.5, dtype=torch.float64))
    weight = torch.full((2,), len(x) / 2, dtype=torch.float64)
    assert family._set_compiled(weight, ordinary, None, weight)
    far = family.summarize(x + 1e9 * family.unit, torch.full((len(x), 2), 0.5, dtype=torch.float64))
    line = (x[:, :1] - x[:, :1].mean()) @ torch.ones(1, 2, dtype=torch.float64) + x.mean(0)
    flat = family.summarize(line, torch.full((len(x), 2), 0.5, dtype=torch.float64))
    before = [tensor.clone() for tensor in own_tensors(family)]
    for sums in (far, flat, ordinary * torch.nan):
        assert not family._set_compiled(weight, sums, None, weight)
    assert not family._set_compiled(torch.tensor([0.0, 1.0]).double(), ordinary, None, weight)
    assert all(map(torch.equal, before, own_tensors(family)))
