"""Gradients in the rows, for a mixture as the head of a network. Oracles: scipy's densities, closed forms."""

import numpy as np
import pytest
import torch
from pyro.distributions import Laplace
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal
from scipy import stats
from scipy.special import logsumexp
from torch.func import grad, vmap

from lowerbound.models import (
    PPCA,
    BayesianMixture,
    Exponential,
    FamilyOf,
    Gamma,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    Product,
    StudentT,
    linear_vae,
    seed,
)

ROWS = np.array([[0.5, 1.0], [1.5, 0.7], [1.1, 2.0], [7.0, 8.5], [8.1, 7.2], [9.0, 8.0]])


def numbers(tensor):
    return tensor.detach().numpy()


def matrices(f):
    return numbers((f.scale_tril @ f.scale_tril.mT).expand(2, -1, -1))


def of_components(density):
    """log p(x) of a mixture from `density(family, k, x)`, scipy's log density of one component."""

    def log_density(model, x):
        each = [density(model.family, k, x) for k in range(2)]
        return logsumexp(np.stack(each, 1) + np.log(numbers(model.weights)), axis=1)

    return log_density


def gaussian(f, k, x):
    return stats.multivariate_normal(numbers(f.loc)[k], matrices(f)[k]).logpdf(x)


def student_t(f, k, x):
    return stats.multivariate_t(numbers(f.loc)[k], matrices(f)[k], numbers(f.dof)[k]).logpdf(x)


def gamma(f, k, x):
    return stats.gamma(numbers(f.concentration)[k], scale=1 / numbers(f.rate)[k]).logpdf(x).sum(1)


def laplace(f, k, x):
    return stats.laplace(numbers(f.loc)[k], numbers(f.scale)[k]).logpdf(x).sum(1)


def exponential(f, k, x):
    return stats.expon(scale=1 / numbers(f.rate)[k]).logpdf(x).sum(1)


def product(f, k, x):
    first = stats.norm(numbers(f.parts[0].loc)[k, 0], matrices(f.parts[0])[k, 0, 0] ** 0.5).logpdf(x[:, 0])
    return first + exponential(f.parts[1], k, x[:, 1:])


def nearest(model, x):
    each = [stats.norm(centre, float(model.family.scale.detach())).logpdf(x).sum(1) for centre in numbers(model.loc)]
    return np.max(each, 0) - np.log(2)


def ppca(model, x):
    loading, scale = numbers(model.loading), float(model.scale.detach())
    return stats.multivariate_normal(numbers(model.loc), loading @ loading.T + scale**2 * np.eye(2)).logpdf(x)


CASES = {
    "full": (Mixture(Gaussian(2, 2)), of_components(gaussian)),
    "tied": (Mixture(Gaussian(2, 2, "tied")), of_components(gaussian)),
    "student-t": (Mixture(StudentT(2, 2)), of_components(student_t)),
    "gamma": (Mixture(Gamma(2, 2)), of_components(gamma)),
    "laplace": (Mixture(FamilyOf(Laplace, 2, 2)), of_components(laplace)),
    "product": (Mixture(Product(Gaussian(2, 1), Exponential(2, 1))), of_components(product)),
    "k-means": (KMeans(2, 2), nearest),
    "ppca": (PPCA(2, 1), ppca),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_the_objective_in_x_is_that_of_the_density(case, as_users_run_it):
    model, log_density = CASES[case]
    model = seed(model, ROWS)
    x, h = torch.tensor(ROWS, requires_grad=True), 1e-6
    model.objective(x).sum().backward()
    step = [h * e for e in np.eye(2)]
    expected = np.stack([(log_density(model, ROWS + e) - log_density(model, ROWS - e)) / (2 * h) for e in step], 1)
    np.testing.assert_allclose(x.grad, expected, rtol=1e-5, atol=1e-7)
    # torch's function transforms give the same
    each = vmap(grad(lambda row: model.objective(row[None])[0]))(torch.tensor(ROWS))
    np.testing.assert_allclose(numbers(each), expected, rtol=1e-5, atol=1e-7)
    assert not model.bound(x).requires_grad


def elbo_gradient(elbo, model, guide, x):
    x = x.clone().requires_grad_()
    elbo.differentiable_loss(model, guide, x).backward()
    return -x.grad


@pytest.mark.parametrize(
    "model", [GaussianMixture(2, 2), KMeans(2, 2), BayesianMixture(Exponential(2, 2)), BayesianMixture(Gaussian(2, 2))]
)
def test_the_gradient_of_the_pair_with_enumerated_z_is_that_of_the_objective(model, as_users_run_it):
    model, x = seed(model, ROWS), torch.tensor(ROWS)
    if isinstance(model, BayesianMixture):
        elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=200)
        tolerance = 0.5  # of draws of theta
    else:
        elbo, tolerance = TraceEnum_ELBO(max_plate_nesting=1), 1e-9
    torch.manual_seed(0)
    found = elbo_gradient(elbo, model.model, config_enumerate(model.guide), x)
    expected = numbers(grad(lambda rows: model.objective(rows).sum())(x))
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_one_draw_of_the_ppca_pair_has_the_exact_gradient(as_users_run_it):
    model, x = seed(PPCA(2, 1), ROWS), torch.tensor(ROWS)
    expected = numbers(grad(lambda rows: model.objective(rows).sum())(x))
    np.testing.assert_allclose(elbo_gradient(Trace_ELBO(), model.model, model.guide, x), expected, atol=1e-9)


def test_the_gradient_of_a_vae_is_that_of_its_bound_in_closed_form(as_users_run_it):
    model = seed(linear_vae(2, 1).double(), ROWS)
    at = torch.tensor(ROWS[:1])
    x = at + 1e-9 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # other draws
    each = grad(lambda rows: model.objective(rows).sum())(x)

    def bound(row):
        q, p = model.encode(row).base_dist, model.linear()
        residual = (row - p.loc - q.loc @ p.loading.T).square().sum() + (q.scale @ p.loading.T).square().sum()
        return -residual / (2 * p.scale**2) - 0.5 * (q.loc.square() + q.scale.square()).sum() + q.scale.log().sum()

    error = each.std(0) / len(each) ** 0.5
    assert ((each.mean(0) - grad(bound)(at)[0]).abs() < 4 * error).all() and (error < 0.1).all()


def test_an_encoder_learns_behind_a_mixture(as_users_run_it):
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2).double()
    model = seed(GaussianMixture(2, 2), net(torch.tensor(ROWS))).freeze()
    optimizer, bounds = torch.optim.Adam(net.parameters(), lr=0.01), []
    for _ in range(50):
        optimizer.zero_grad()
        loss = -model.objective(net(torch.tensor(ROWS))).mean()
        loss.backward()
        optimizer.step()
        bounds.append(-loss.item())
    assert bounds[-1] > bounds[0] + 0.5


def test_missing_values_have_no_gradient_and_the_observed_ones_that_of_their_margin(as_users_run_it):
    model = seed(GaussianMixture(2, 2), ROWS)
    x = torch.tensor(ROWS[:2])
    x[0, 1] = torch.nan
    x.requires_grad_()
    model.objective(x)[0].backward()
    f, h = model.family, 1e-6
    margins = [stats.norm(numbers(f.loc)[k, 0], matrices(f)[k, 0, 0] ** 0.5) for k in range(2)]

    def of_first(v):
        return logsumexp([m.logpdf(v) for m in margins], b=numbers(model.weights))

    expected = (of_first(ROWS[0, 0] + h) - of_first(ROWS[0, 0] - h)) / (2 * h)
    np.testing.assert_allclose(x.grad, [[expected, 0], [0, 0]], rtol=1e-5, atol=1e-9)
    with pytest.raises(ValueError, match=r"missing values .* under torch\.func\.vmap"):
        vmap(lambda row: model.objective(row[None]))(x.detach())


@pytest.mark.parametrize(
    "model", [Mixture(Poisson(2, 2)), BayesianMixture(Poisson(2, 2)), BayesianMixture(Gaussian(2, 2), guide=AutoNormal)]
)
def test_vmap_gives_the_same_numbers_and_the_same_refusals(model, as_users_run_it):
    x = torch.tensor(ROWS).round()
    model = seed(model, x)
    each = vmap(lambda row: model.objective(row[None])[0], randomness="same")(x)
    np.testing.assert_allclose(numbers(each), model.bound(x), rtol=1e-12)
    bad = x.clone()
    bad[4, 1] = torch.inf
    with pytest.raises(ValueError, match="row 4, column 1 holds an infinite value"):
        vmap(lambda row: model.objective(row[None])[0], randomness="same")(bad)
