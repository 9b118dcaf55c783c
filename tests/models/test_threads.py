"""Same seed, same numbers in any thread, whatever others draw. The oracle is the call alone in the main thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pyro.distributions import Beta, VonMises
from pyro.infer.autoguide import AutoNormal

from lowerbound.inference import EM, SVI, evidence, fit
from lowerbound.models import (
    PPCA,
    VAE,
    BayesianMixture,
    Exponential,
    FamilyOf,
    Gaussian,
    GaussianDecoder,
    GaussianMixture,
    Mixture,
    MLPEncoder,
    NegativeBinomial,
    Poisson,
    Product,
    StudentTMixture,
    linear_vae,
    seed,
)
from lowerbound.models.random_numbers_of_thread import OwnGenerators

X = np.abs(np.r_[np.random.default_rng(0).normal(size=(20, 2)), np.random.default_rng(1).normal(size=(20, 2)) + 6])
GAPS = X.copy()
GAPS[::3, 0] = np.nan


def with_dropout():
    torch.manual_seed(0)
    decoder = GaussianDecoder(1, 2, hidden=(8,))
    decoder.network.insert(1, torch.nn.Dropout(0.5))
    return VAE(MLPEncoder(2, 1, hidden=(8,)), decoder, 1).double()


def calls():
    """By name, functions that draw from a seed and return a tensor."""
    models = {
        "gaussian": GaussianMixture(2, 2),
        "student-t": StudentTMixture(2, 2),
        "product": Mixture(Product(Gaussian(2, 1), Exponential(2, 1))),
        "negative binomial": Mixture(NegativeBinomial(2, 2)),
        "beta": Mixture(FamilyOf(Beta, 2, 2)),
        "von mises": Mixture(FamilyOf(VonMises, 2, 2)),
        "bayes": BayesianMixture(Gaussian(2, 2)),
        "guide": BayesianMixture(Poisson(2, 2), guide=AutoNormal),
        "ppca": PPCA(2, 1),
        "vae": with_dropout(),
    }
    tables = {"negative binomial": X.round(), "guide": X.round(), "beta": 1 / (1 + X), "von mises": X / 4}
    models = {name: seed(model, tables.get(name, X)) for name, model in models.items()}
    found = {f"{name} sample": lambda m=m: m.sample(50, seed=3) for name, m in models.items()}
    for name in ("gaussian", "student-t", "product", "bayes"):
        found[f"{name} draw_missing"] = lambda m=models[name]: m.draw_missing(GAPS, 3, seed=3)
    for name in ("bayes", "guide"):
        found[f"{name} draw"] = lambda m=models[name]: torch.cat([v.flatten() for v in m.draw(5, seed=3).values()])
        found[f"{name} draw_labels"] = lambda m=models[name]: m.draw_labels(X.round(), 5, seed=3)
    found["guide bound"] = lambda: models["guide"].bound(X.round())
    found["vae evidence"] = lambda: evidence(models["vae"], X, 5, seed=1).log_evidence
    found["vae bound"] = lambda: models["vae"].bound(X)
    found["start"] = lambda: seed(linear_vae(2, 1), X, seed=5).bound(X)
    for name, model, engine in (
        ("em", GaussianMixture(2, 2), EM()),
        ("svi", GaussianMixture(2, 2), SVI()),
        ("guide", BayesianMixture(Gaussian(2, 2), guide=AutoNormal), SVI()),
        ("vae", with_dropout(), SVI("analytic", batch_size=7)),
    ):
        found[f"fit {name}"] = lambda m=model, e=engine: fit(m, X, e, max_passes=2, seed=2).bounds
    return found


def test_the_same_seed_gives_the_same_numbers_in_eight_threads(as_users_run_it):
    each = calls()
    expected = {name: call() for name, call in each.items()}
    quick = {name for name in each if "fit" not in name and "guide" not in name}
    before = torch.get_rng_state()
    wrong = []

    def check(name):
        if not torch.equal(each[name](), expected[name]):
            wrong.append(name)

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(check, name) for turn in range(4) for name in each if not turn or name in quick]
        for name in sorted(quick):  # the main thread draws beside them
            check(name)
        for job in running:
            job.result()
    assert not wrong
    assert torch.equal(torch.get_rng_state(), before)


def attention():
    q = torch.ones(1, 1, 4, 4)
    return torch.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(3),
        lambda: torch.rand_like(torch.ones(3)),
        lambda: torch.randn(20).double(),
        lambda: torch.randint(9, (3,)),
        lambda: torch.randint(4, 9, (3,)),
        lambda: torch.randperm(9),
        lambda: torch.normal(torch.ones(3), torch.ones(3)),
        lambda: torch.bernoulli(torch.full((9,), 0.5)),
        lambda: torch.poisson(torch.ones(9)),
        lambda: torch.multinomial(torch.ones(9), 3),
        lambda: torch.empty(3).exponential_(),
        lambda: torch.distributions.Dirichlet(torch.ones(3)).sample(),
        lambda: torch.distributions.StudentT(3.0).rsample((3,)),
        lambda: torch.distributions.Binomial(9, torch.full((3,), 0.5)).sample(),
        lambda: torch.nn.functional.dropout(torch.ones(9)),
        attention,
    ],
)
def test_generators_of_a_thread_give_the_numbers_of_torchs_own(draw):
    torch.manual_seed(5)
    expected = [draw(), draw()]
    torch.manual_seed(6)
    before = torch.get_rng_state()
    with OwnGenerators() as own:
        own.on("cpu").manual_seed(5)
        found = [draw(), draw()]
    assert all(map(torch.equal, found, expected))
    assert torch.equal(torch.get_rng_state(), before)


def test_torchs_objects_of_operations_stay_the_same():
    """torch keeps pointers to them: one that is made anew crashes the process at the next use of a dispatch mode."""
    before = [torch.ops.aten.randperm.default, torch.ops.aten.randperm.generator]
    with OwnGenerators():
        torch.randperm(3)
    after = [torch.ops.aten.randperm.default, torch.ops.aten.randperm.generator]
    assert list(map(id, after)) == list(map(id, before))
