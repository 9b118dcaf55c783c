"""What a continuous latent variable model cannot take gets one sentence, and the model stays as it was."""

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from reference import bits
from torch import nn

from lowerbound.inference import EM, SVI, fit
from lowerbound.models import (
    PPCA,
    VAE,
    BernoulliDecoder,
    Binarized,
    CategoricalDecoder,
    ContinuousBernoulliDecoder,
    GaussianDecoder,
    GaussianMixture,
    MLPEncoder,
    Rows,
    seed,
)

pytestmark = pytest.mark.usefixtures("as_users_run_it")

X = np.random.default_rng(0).standard_normal((20, 3))
BITS = (X > 0).astype(float)
GREY = np.random.default_rng(1).random((20, 3))
CODES = np.random.default_rng(2).integers(0, 2, (20, 3)).astype(float)
MODELS = {
    "ppca": lambda: seed(PPCA(3, 1), X),
    "gaussian": lambda: VAE(MLPEncoder(3, 2, (4,)), GaussianDecoder(2, 3, (4,), variance_floor=0.1), 2),
    "bernoulli": lambda: VAE(MLPEncoder(3, 2, (4,)), BernoulliDecoder(2, 3, (4,)), 2),
    "grey": lambda: VAE(MLPEncoder(3, 2, (4,)), ContinuousBernoulliDecoder(2, 3, (4,)), 2),
    "categorical": lambda: VAE(MLPEncoder(3, 2, (4,)), CategoricalDecoder(2, [2, 3, 4], (4,)), 2),
}
GOOD = {"ppca": X, "gaussian": X, "bernoulli": BITS, "grey": GREY, "categorical": CODES}
models = pytest.mark.parametrize("kind", MODELS)


def spoiled(x, row, column, value):
    x = np.array(x, dtype=float)
    x[row, column] = value
    return x


def doors(model):
    """Everything that takes a table. (The evidence of most VAEs is None whatever they are asked.)"""
    names = ["model", "guide", "posterior", "bound", "objective", "transform", "reconstruct", "draws"]
    return [getattr(model, name) for name in (*names, *(["expect", "evidence"] if isinstance(model, PPCA) else []))]


def refused(model, x, error, words, fitting=True):
    """By every method, by `seed` and by `fit`; nothing has changed after."""
    held, state = bits(model), torch.get_rng_state()
    for door in doors(model):
        with pytest.raises(error, match=words):
            door(x)
    if fitting:
        with pytest.raises(error, match=words):
            fit(model, x, SVI(), max_passes=2)
        with pytest.raises(error, match=words):
            seed(model, x)
    assert bits(model) == held
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in model.modules())


# tables


@models
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_a_table_of_another_width(kind, columns):
    x = np.zeros((20, columns))
    refused(
        MODELS[kind](),
        x,
        ValueError,
        f"got {columns} column{'s' * (columns > 1)}, expected 3: the model was made for 3 features",
    )


@models
def test_cells_that_are_no_numbers(kind):
    model, good = MODELS[kind](), GOOD[kind]
    refused(model, spoiled(good, 7, 1, np.nan), ValueError, "row 7, column 1 holds NaN, expected finite numbers")
    refused(model, spoiled(good, 3, 0, np.inf), ValueError, "row 3, column 0 holds an infinite value, expected finite")
    frame = pd.DataFrame(spoiled(good, 7, 1, np.nan), columns=["a", "b", "c"])
    refused(model, frame, ValueError, r"row 7, column 1 \('b'\) holds NaN")
    refused(model, good.astype(str), TypeError, "got an array with words, expected real numbers")
    refused(model, good[0], ValueError, r"shape \(3,\), expected \(rows, columns\)")
    refused(model, good[:0], ValueError, "got an empty table")


OUTSIDE = {
    "grey pixels": (
        "bernoulli",
        spoiled(BITS, 4, 2, 0.5),
        r"row 4, column 2 holds 0\.5, expected 0 or 1: binarise grey pixels, best with Binarized\(x\), which draws "
        r"them at each reading, or take a ContinuousBernoulliDecoder for them",
    ),
    "bytes": ("bernoulli", spoiled(BITS, 0, 1, 255), "row 0, column 1 holds 255, expected 0 or 1"),
    "beyond 1": ("grey", spoiled(GREY, 5, 0, 1.5), r"row 5, column 0 holds 1\.5, expected numbers in \[0, 1\]: divide"),
    "below 0": (
        "grey",
        spoiled(GREY, 5, 0, -0.1),
        r"row 5, column 0 holds -0\.1, expected numbers in \[0, 1\]: divide",
    ),
    "a code too high": (
        "categorical",
        spoiled(CODES, 6, 1, 3),
        r"row 6, column 1 holds 3, expected the code of a category, 0, 1, \.\.\. below the levels of its column",
    ),
    "a code of a wider column": ("categorical", spoiled(CODES, 6, 0, 2), "row 6, column 0 holds 2, expected the code"),
    "a negative code": ("categorical", spoiled(CODES, 6, 1, -1), "row 6, column 1 holds -1, expected the code of a"),
    "half a code": ("categorical", spoiled(CODES, 6, 1, 0.5), r"row 6, column 1 holds 0\.5, expected the code of a"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_cells_that_the_decoder_cannot_give(name):
    kind, x, words = OUTSIDE[name]
    model = MODELS[kind]()
    refused(model, x, ValueError, words)
    row, column = np.argwhere(x != GOOD[kind])[0]
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    name = "abc"[column]
    refused(model, frame, ValueError, rf"row {row}, column {column} \('{name}'\) holds")
    # in the rows of a fit, with weights in front, the row keeps its number; of weight 0 it does not matter
    weights = np.ones(20)
    weights[0] = 0
    if row:
        with pytest.raises(ValueError, match=f"row {row}, column {column} holds"):
            fit(model, x, SVI(), weights=weights, max_passes=2)
        weights[row] = 0
    if row or weights[row] == 0:
        fit(model, x, SVI(), weights=weights, max_passes=2)


class Counts(nn.Module):
    def __init__(self, kind=dist.Poisson):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.kind = kind

    def forward(self, z):
        return self.kind(self.layer(z).exp()).to_event(1)


def test_the_support_of_a_users_own_decoder():
    counts = VAE(MLPEncoder(3, 2, (4,)), Counts(), 2)
    good = np.ones((20, 3))
    for value in (-1, 0.5):
        words = rf"row 2, column 1 holds {value}, expected counts, 0, 1, 2, \.\.\."
        refused(counts, spoiled(good, 2, 1, value), ValueError, words)
    waits = VAE(MLPEncoder(3, 2, (4,)), Counts(dist.Exponential), 2)
    refused(waits, spoiled(good, 2, 1, -1), ValueError, "row 2, column 1 holds -1, expected ")


def test_rows_of_many_chunks_keep_their_numbers(monkeypatch):
    monkeypatch.setattr(Rows.chunks, "__defaults__", (6,))
    for make in (MODELS["bernoulli"], lambda: seed(MODELS["bernoulli"](), BITS)):
        with pytest.raises(ValueError, match=r"row 13, column 2 holds 0\.5, expected 0 or 1"):
            fit(make(), spoiled(BITS, 13, 2, 0.5), SVI(), max_passes=2)


def test_grey_pixels_have_two_cures():
    """The ones that the error tells."""
    fit(MODELS["bernoulli"](), Binarized(GREY), SVI(), max_passes=2)
    fit(MODELS["grey"](), GREY, SVI(), max_passes=2)


CONSTANT = np.hstack([X[:, :2], np.full((20, 1), 4.2)])


def test_a_learned_variance_of_a_constant_column():
    model = VAE(MLPEncoder(3, 2, (4,)), GaussianDecoder(2, 3, (4,)), 2)
    held = bits(model)
    words = (
        "column 2 has the same value in every row, so that its variance would go to 0: give the GaussianDecoder a "
        'variance_floor, such as a hundredth of the mean variance, .*, or variance="shared", or drop the column'
    )
    with pytest.raises(ValueError, match=words):
        fit(model, CONSTANT, SVI(), max_passes=2)
    assert bits(model) == held
    # its cures
    for settings in ({"variance_floor": 0.01}, {"variance": "shared"}):
        cured = VAE(MLPEncoder(3, 2, (4,)), GaussianDecoder(2, 3, (4,), **settings), 2)
        assert torch.isfinite(fit(cured, CONSTANT, SVI(), max_passes=3).bounds).all()


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("variance", ["learned", "shared"])
def test_data_without_any_variance(variance, rows):
    """One row, or one repeated: the density of a perfect reconstruction has no upper bound."""
    model = VAE(MLPEncoder(3, 2, (4,)), GaussianDecoder(2, 3, (4,), variance), 2)
    with pytest.raises(ValueError, match=r"column 0 has the same value in every row.*variance_floor"):
        fit(model, np.tile(X[:1], (rows, 1)), SVI(), max_passes=2)


@models
def test_labels(kind):
    model, good = MODELS[kind](), GOOD[kind]
    name = "PPCA" if kind == "ppca" else "VAE"
    words = f"got labels, but the latent variable of {name} is continuous: leave them out, or fit a Mix"
    held, labels = bits(model), np.zeros(20, dtype=int)
    for door in (model.model, model.guide, *([model.expect] if kind == "ppca" else [])):
        with pytest.raises(ValueError, match=words):
            door(good, None, labels)
    for door in (model.bound, model.objective):
        with pytest.raises(ValueError, match=words):
            door(good, labels)
    with pytest.raises(ValueError, match=words):
        fit(model, good, SVI(), labels=labels)
    if kind == "ppca":
        with pytest.raises(ValueError, match=words):
            fit(model, good, EM(), labels=labels)
    assert bits(model) == held


@models
def test_weights(kind):
    model, good = MODELS[kind](), GOOD[kind]
    for weights, words in (
        (np.ones(19), r"got weights of shape \(19,\), expected one weight for each of 20 rows"),
        (-np.ones(20), "weight 0 is -1.0, expected weights that are finite and not negative"),
        (np.zeros(20), "all weights are zero, expected at least one positive weight"),
    ):
        for call in (
            lambda w=weights: model.model(good, w),
            lambda w=weights: model.guide(good, w),
            lambda w=weights: fit(model, good, SVI(), weights=w, max_passes=1),
        ):
            with pytest.raises(ValueError, match=words):
                call()


@models
@pytest.mark.parametrize("n", [0, -1, 1.5, "3"])
def test_a_number_of_rows_that_is_none(kind, n):
    with pytest.raises(ValueError, match=f"n is {n!r}, expected a whole number of rows of at least 1"):
        MODELS[kind]().sample(n)


def test_a_vae_has_no_m_step():
    words = r"EM needs expect\(\) and maximize\(\), which VAE does not have: fit it with SVI\(\)"
    with pytest.raises(TypeError, match=words):
        fit(MODELS["gaussian"](), X, EM())


def test_estimators_that_a_model_has_no_use_for():
    mixture = GaussianMixture(2, 3)
    for elbo in ("analytic", "importance"):
        with pytest.raises(TypeError, match=f"elbo='{elbo}' draws a continuous z, which Mixture does not have: take"):
            fit(mixture, X, SVI(elbo))
    for kind, name in (("gaussian", "VAE"), ("ppca", "PPCA")):
        with pytest.raises(TypeError, match=f"elbo='enumerated' sums over a discrete z, which {name} does not have"):
            fit(MODELS[kind](), X, SVI("enumerated"))
    with pytest.raises(
        TypeError, match="the bound of VAE has no closed form, as elbo='exact' expects: take \"analytic"
    ):
        fit(MODELS["gaussian"](), X, SVI("exact"))


def test_settings_of_svi():
    for settings in ({"warm_up": -1}, {"free_bits": -0.1}, {"free_bits": float("nan")}):
        with pytest.raises(
            ValueError, match=rf"{next(iter(settings))} is .*, expected (passes|nats), a number of at least 0"
        ):
            SVI("analytic", **settings)
    for elbo in ("sampled", "enumerated", "exact", "importance"):
        for settings in ({"warm_up": 3}, {"free_bits": 0.1}):
            with pytest.raises(ValueError, match=f"warm_up and free_bits are for elbo=\"analytic\", .*not '{elbo}'"):
                SVI(elbo, **settings)
