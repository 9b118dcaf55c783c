"""Every model and engine on another device: one that is not there, and a GPU where there is one.

A tensor on a device that is not there says so and refuses to meet one of the processor's (`pretend.py`), which is what
CUDA does; its numbers are the processor's, so that they must agree with those of a fit on the processor.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from families import TABLE
from pretend import ELSEWHERE, Away, Elsewhere
from reference import COVARIANCES, data

from lowerbound.inference import EM, SVI, OnlineEM, fit
from lowerbound.inference.fitting.checkpoint import Checkpoint
from lowerbound.models import (
    PPCA,
    VAE,
    BayesianMixture,
    BernoulliDecoder,
    Gaussian,
    GaussianDecoder,
    GaussianMixture,
    MLPEncoder,
    Poisson,
)

GPU = torch.device("cuda", 0)
DEVICES = [
    pytest.param(ELSEWHERE, id="pretend"),
    pytest.param(GPU, id="cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]
X = data(n=80, d=2)
WEIGHTS = np.random.default_rng(0).integers(0, 3, 80) / 2
LABELS = np.where(np.arange(80) % 9 == 0, 0, -1)
MISSING = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
BITS = (np.random.default_rng(2).random((80, 4)) < 0.4).astype(float)


NETWORK = SVI("importance", particles=2, batch_size=20)


def there(device):
    return Elsewhere() if device == ELSEWHERE else nullcontext()


def require_same(device, model, x, engine, rtol=1e-9, **options):
    """The fit on the device has its parameters there, its history here, and the numbers of the fit on the processor."""
    if device == GPU and engine in (NETWORK, ENGINES["sampled"]):
        pytest.skip("z is drawn by the GPU, whose random numbers are its own")
    here = fit(model(), x, engine, max_passes=4, seed=3, **options)
    with there(device):
        away = fit(model().to(device), x, engine, max_passes=4, seed=3, **options)
        for name, value in away.model.state_dict().items():
            assert value.device == device, name
        assert away.bounds.device.type == "cpu"
        back = away.model.cpu()
        assert not any(isinstance(value, Away) for value in back.state_dict().values())
    torch.testing.assert_close(away.bounds, here.bounds, rtol=rtol, atol=rtol)
    for (name, a), b in zip(back.state_dict().items(), here.model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=name)
    assert away.gradient_norm == pytest.approx(here.gradient_norm, rel=1e-4, abs=1e-8)


EXACT = {"em": EM(), "exact": SVI("exact")}
ENGINES = {
    **EXACT,
    "squarem": EM(accelerate="squarem"),
    "online": OnlineEM(batch_size=20),
    "enumerated": SVI("enumerated", batch_size=30),
    "sampled": SVI(batch_size=30),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("engine", EXACT.values(), ids=EXACT.keys())
@pytest.mark.parametrize("family", TABLE)
def test_every_family_fits_elsewhere_as_it_does_here(family, engine, device):
    case = TABLE[family]
    if case.hard and isinstance(engine, SVI):
        pytest.skip("k-means starts at its optimum here, where the gradient is rounding, which Adam follows")
    require_same(device, case.model, case.data(60)[0], engine)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
def test_every_engine_fits_elsewhere_as_it_does_here(engine, device):
    options = {} if isinstance(engine, EM) else {"weights": WEIGHTS, "labels": LABELS}
    require_same(device, lambda: GaussianMixture(3, 2, prior="weak"), X, engine, **options)


@pytest.mark.parametrize("device", DEVICES)
def test_restarts_validation_and_patience_elsewhere(device):
    options = {"restarts": 3, "validation": X[60:], "patience": 2}
    require_same(device, lambda: GaussianMixture(2, 2), X[:60], EM(), **options)


@pytest.mark.filterwarnings("ignore:.*non-meta parameter in the checkpoint")  # of the name that the pretence goes by
@pytest.mark.parametrize("device", DEVICES)
def test_a_run_killed_elsewhere_ends_in_the_same_bits(device, tmp_path):
    engine, passes, path = SVI("exact", batch_size=30), iter(range(9)), tmp_path / "killed.ckpt"
    written = Checkpoint.write

    def write(*args):
        if next(passes) == 2:
            raise KeyboardInterrupt
        written(*args)

    with there(device):
        model = GaussianMixture(2, 2).to(device)
        whole = fit(model, X, engine, max_passes=5)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Checkpoint, "write", write)
            fit(model, X, engine, max_passes=5, checkpoint=path)
        resumed = fit(model, X, engine, max_passes=5, checkpoint=path)
        assert torch.equal(whole.bounds, resumed.bounds)
        for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
            assert a.device == b.device == device
            assert torch.equal(a.cpu(), b.cpu())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_missing_cells_weights_and_labels_elsewhere(covariance, device):
    require_same(device, lambda: GaussianMixture(2, 2, covariance), MISSING, EM(), weights=WEIGHTS, labels=LABELS)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("make", "x", "engine"),
    [
        (lambda: PPCA(2, latent=1), X, EM()),
        (lambda: PPCA(2, latent=1), X, SVI("exact")),
        (lambda: VAE(MLPEncoder(2, 1, [8]), GaussianDecoder(1, 2, [8]), latent=1), X, NETWORK),
        (lambda: VAE(MLPEncoder(4, 2, [8]), BernoulliDecoder(2, 4, [8]), latent=2), BITS, NETWORK),
        (lambda: BayesianMixture(Gaussian(2, 2)), X, EM()),
        (lambda: BayesianMixture(Poisson(2, 4), stick_breaking=True), BITS, EM()),
        (lambda: BayesianMixture(Gaussian(2, 2)), X, OnlineEM(batch_size=20)),
        (lambda: BayesianMixture(Gaussian(2, 2)), X, SVI("exact")),
    ],
    ids=["ppca", "ppca-svi", "vae", "vae-bits", "bayes", "bayes-sticks", "bayes-online", "bayes-svi"],
)
def test_other_models_elsewhere(make, x, engine, device):
    require_same(device, make, x, engine)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", TABLE)
def test_what_a_model_says_of_rows_is_where_the_model_is(family, device):
    case = TABLE[family]
    x, _ = case.data(40)
    here = case.set(case.model())
    with there(device):
        away = case.set(case.model()).to(device)
        for name in ("bound", "posterior", "predict"):
            value, own = getattr(away, name)(x), getattr(here, name)(x)
            value, own = (value.probs, own.probs) if name == "posterior" else (value, own)
            assert value.device == device
            torch.testing.assert_close(value.cpu(), own, rtol=1e-9, atol=1e-12)
        assert torch.equal(away.sample(5, seed=1), here.sample(5, seed=1))
        assert away.summary().equals(here.summary())
        away.permute([2, 0, 1])
        assert all(value.device == device for value in away.state_dict().values())


def test_the_pretended_device_tells_the_two_apart():
    here = torch.ones(3)
    with Elsewhere():
        away = here.to(ELSEWHERE)
        assert away.device == ELSEWHERE and (away + 1.0).device == ELSEWHERE and away.cpu().device == here.device
        assert (away + torch.ones(())).device == ELSEWHERE and float(away.sum()) == 3
        for mixed in (lambda: away + here, lambda: torch.ones(3) * away, lambda: here[(away > 0)]):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            away.numpy()
