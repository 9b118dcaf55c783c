"""Rows far from the data: a VAE gives numbers, or says which value overflows. Half precision is refused."""

import copy

import numpy as np
import pytest
import torch

from lowerbound.inference import SVI, evidence, fit
from lowerbound.models import PPCA, VAE, BernoulliDecoder, GaussianDecoder, GaussianMixture, MLPEncoder, linear_vae

pytestmark = pytest.mark.usefixtures("as_users_run_it")

RNG = np.random.default_rng(0)
X = np.r_[RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2)) + 6]
MADE = {
    "linear": linear_vae(2, 1),
    "linear, full": linear_vae(2, 2, covariance="full"),
    "deep": VAE(MLPEncoder(2, 1, (4,)), GaussianDecoder(1, 2, (4,)), 1),
}
METHODS = ["bound", "objective", "evidence", "transform", "reconstruct", "posterior"]


@pytest.fixture(scope="module", params=MADE)
def model(request):
    return fit(MADE[request.param], X, SVI(), max_passes=3).model


def numbers_of(found):
    found = found.mean if isinstance(found, torch.distributions.Distribution) else found
    return torch.zeros(1) if found is None else found


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_each_method_gives_numbers_or_names_the_value(model, precision):
    own, refused = copy.deepcopy(model).to(precision), 0
    for value in (1e10, 1e15, 1e18, 1e20, 1e30, 1e39, 1e100, 1e155, 1e308, -1e308):
        for method in METHODS:
            try:
                found = numbers_of(getattr(own, method)([[1.0, 1.0], [value, 1.0]]))
            except ValueError as error:
                refused += 1
                assert str(error).startswith(f"row 1, column 0 holds {value:g}, so far from the data that")
                assert ("model.double()" in str(error)) == (precision == torch.float32)
            else:
                assert found.isfinite().all(), (value, method)
    assert refused


def test_the_bound_is_below_the_evidence_also_far_away():
    """-4.8e18 at 1e10, where q's standard deviation underflowed and the bound was -inf."""
    model = fit(linear_vae(2, 1), X, SVI(), max_passes=5).model
    x = [[1e10, 1.0]]
    bound, exact = model.bound(x).item(), evidence(model, x).log_evidence.item()
    assert -1e25 < bound <= exact < -1e15


def test_a_row_that_another_decoder_takes_is_as_before():
    bits = (X > 3).astype(float)
    model = fit(VAE(MLPEncoder(2, 1, (4,)), BernoulliDecoder(1, 2, (4,)), 1), bits, SVI(), max_passes=2).model
    assert model.bound(bits).isfinite().all()


@pytest.mark.parametrize("make", [lambda: PPCA(2, 1), *[lambda m=m: m for m in MADE.values()]])
def test_half_precision_is_refused_and_nothing_changes(make):
    model = make()
    before = {name: value.dtype for name, value in model.state_dict().items()}
    for cast in (lambda: model.half(), lambda: model.bfloat16(), lambda: model.to(torch.float16)):
        with pytest.raises(TypeError, match=r"got torch\.b?float16 for a (PPCA|VAE), expected torch.float32 or"):
            cast()
    assert {name: value.dtype for name, value in model.state_dict().items()} == before
    assert GaussianMixture(2, 2).half().family.loc.dtype == torch.float64  # mixtures stay in double precision
