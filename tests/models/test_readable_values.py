"""What a user reads off a fitted model: NumPy and pandas take it, and gradients still flow."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from pyro.distributions import Laplace

from lowerbound.inference import EM, fit
from lowerbound.models import (
    PPCA,
    BayesianMixture,
    FamilyOf,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    Product,
    StudentTMixture,
    linear_vae,
    seed,
)

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 9.0, 8.0, 10.0], "b": [1.0, 0.0, 1.5, 8.0, 9.5, 9.0]}, index=list("uvwxyz"))

READ = {
    "weights": (GaussianMixture(2, 2), lambda m: m.weights),
    "loc": (GaussianMixture(2, 2), lambda m: m.family.loc),
    "factor": (GaussianMixture(2, 2), lambda m: m.family.scale_tril[0]),
    "student-t": (StudentTMixture(2, 2), lambda m: m.family.loc),
    "part": (Mixture(Product(Gaussian(2, 1), Poisson(2, 1))), lambda m: m.family.parts[0].loc),
    "unbounded": (Mixture(FamilyOf(Laplace, 2, 2)), lambda m: m.family.loc),
    "k-means": (KMeans(2, 2), lambda m: m.loc),
    "ppca": (PPCA(2, 1), lambda m: m.loading),
    "bayes": (BayesianMixture(Gaussian(2, 2)), lambda m: m.family.loc),
    "centre": (BayesianMixture(Gaussian(2, 2)), lambda m: m.centre().family.loc),
    "hyperparameter": (BayesianMixture(Gaussian(2, 2)), lambda m: m.shares.concentration),
    "decoder": (linear_vae(2, 1), lambda m: m.decoder.scale),
    "probabilities": (GaussianMixture(2, 2), lambda m: m.posterior(X).probs),
}


@pytest.mark.parametrize("name", READ)
def test_numpy_and_pandas_take_it(name, as_users_run_it):
    model, read = READ[name]
    value = read(seed(model, X.round()))
    expected = value.detach().numpy()
    for found in (np.asarray(value), value.numpy(), np.asarray(value, dtype="float64")):
        np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert value.tolist() == expected.tolist()
    if value.ndim:
        np.testing.assert_array_equal(np.asarray(value[0]), expected[0])
        np.testing.assert_array_equal((pd.DataFrame if value.ndim == 2 else pd.Series)(value).to_numpy(), expected)
    assert "grad_fn" not in repr(value) and repr(value).startswith("tensor(")


MADE = {
    "rows": lambda v: np.asarray([np.asarray(row) for row in v]),
    "list": lambda v: np.array(list(v)),
    "numbers": lambda v: np.array([[float(cell.detach()) for cell in row] for row in v]),
    "T": lambda v: np.asarray(v.T).T,
    "mT": lambda v: np.asarray(v.mT).T,
    "product": lambda v: np.linalg.cholesky(np.asarray(v @ v.mT)),
    "squeeze": lambda v: np.asarray(v.unsqueeze(0).squeeze()),
    "reshape": lambda v: np.asarray(v.reshape(-1)).reshape(2, 2),
    "part of parts": lambda v: np.stack([v[:, 0][..., None].numpy(), v[:, 1:].numpy()], 1)[..., 0],
    "percent": lambda v: np.asarray(100 * v) / 100,
    "arithmetic": lambda v: np.asarray((1 - v / 2) * 2 - 2) * -1,
    "chain": lambda v: np.asarray(v.square().sum(0).sqrt()) / np.linalg.norm(v.detach(), axis=0) * v.detach().numpy(),
    "mean": lambda v: np.asarray(v.mean(0)) - v.detach().numpy().mean(0) + v.detach().numpy(),
    "copy": lambda v: np.asarray(copy.deepcopy(v.detach())),
    "pickle": lambda v: np.asarray(pickle.loads(pickle.dumps(v.detach()))),
}


@pytest.mark.parametrize("name", MADE)
def test_numpy_takes_what_is_made_of_it(name, as_users_run_it):
    value = seed(GaussianMixture(2, 2), X).family.scale_tril[0]
    np.testing.assert_allclose(MADE[name](value), value.detach().numpy(), rtol=1e-6, atol=1e-12)


def test_under_vmap_and_without_gradients_it_is_a_plain_tensor():
    value = seed(GaussianMixture(2, 2), X).family.loc
    found = torch.vmap(lambda row: (row * 2).sum())(value)
    np.testing.assert_allclose(found.detach(), 2 * value.detach().numpy().sum(1))
    with torch.no_grad():
        assert type(value * 2) is torch.Tensor


def test_gradients_flow_through_what_is_read(as_users_run_it):
    model = seed(GaussianMixture(2, 2), X)
    (model.weights[0].log() + model.family.loc.square().sum()).backward()
    own = torch.tensor([1.0, 0.0]) - model.weights.detach()  # d log softmax(u)[0] / du
    torch.testing.assert_close(model.weights_unconstrained.grad, own.double())
    (slope,) = torch.autograd.grad(model.family.loc.sum(), model.family.loc_unconstrained)
    assert slope.shape == (2, 2) and (slope > 0).all()
    assert type(torch.log(model.weights)) is torch.Tensor and type(model.weights.detach()) is torch.Tensor
    share = (100 * model.weights).sqrt()[0]  # through a chain of readable values
    (slope,) = torch.autograd.grad(share, model.weights_unconstrained)
    first = float(model.weights[0].detach())
    assert float(slope[0]) == pytest.approx(5 * first**0.5 * (1 - first), rel=1e-6)
    assert model.weights.unconstrained() is model.weights_unconstrained  # as Pyro has it


def test_predict_is_a_key_of_pandas(as_users_run_it):
    made = fit(GaussianMixture(2, 2, "tied"), X, EM())
    found = X.groupby(made.model.predict(X))["a"].mean()
    code = made.model.predict(X.to_numpy())
    assert isinstance(code, torch.Tensor)
    for k in range(2):
        assert found[k] == X["a"].to_numpy()[code == k].mean()
    assert X.assign(component=made.model.predict(X)).loc["x", "component"] == code[3]
    assert pd.crosstab(made.model.predict(X), X["a"] > 5).to_numpy().sum() == 6
    again = fit(GaussianMixture(2, 2, "tied"), X, EM(), labels=made.model.predict(X))  # and labels of a fit
    assert float(again.bounds[-1]) <= float(made.bounds[-1])
