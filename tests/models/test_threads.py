"""Same seed, same numbers in any thread, whatever others draw. The oracle is the call alone in the main thread."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
from lowerbound.models.random_numbers_of_thread import KEY, OwnGenerators
from lowerbound.models.random_state import fixed_seed

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


@contextmanager
def noise():
    """Another thread draws all the time from torch's random state, without a seed."""
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            torch.randn(10)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_same_seed_gives_the_same_numbers_in_eight_threads(as_users_run_it):
    each = calls()
    expected = {name: call() for name, call in each.items()}
    quick = {name for name in each if "fit" not in name and "guide" not in name}
    wrong = []

    def check(name):
        if not torch.equal(each[name](), expected[name]):
            wrong.append(name)

    with noise(), ThreadPoolExecutor(8) as pool:
        running = [pool.submit(check, name) for turn in range(4) for name in each if not turn or name in quick]
        for name in sorted(quick):  # the main thread draws beside them
            check(name)
        for job in running:
            job.result()
    assert not wrong
    before = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(check, name) for name in quick]:
            job.result()
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_of_others_do_not_move_those_of_the_main_thread(as_users_run_it):
    model = seed(GaussianMixture(2, 2), X)
    expected = model.sample(500, seed=3)
    with noise():
        assert all(torch.equal(model.sample(500, seed=3), expected) for _ in range(100))


def test_what_sets_torchs_state_inside_sets_that_of_the_thread():
    """As a Dataset does that seeds each item, or a user's `bound` that keeps the random state: in any thread."""
    torch.manual_seed(4)
    wanted = [torch.randn(3), torch.randn(3)]

    def draw():
        torch.manual_seed(1)
        with fixed_seed(7):
            first = torch.randn(2)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(4)
                found = torch.randn(3)
            second = torch.randn(2)
        with fixed_seed(7):
            assert torch.equal(torch.cat([first, second]), torch.cat([torch.randn(2), torch.randn(2)]))
        return found

    outside = torch.get_rng_state()
    found = [draw()]
    torch.set_rng_state(outside)
    with ThreadPoolExecutor(1) as pool:
        found.append(pool.submit(draw).result())
    assert all(torch.equal(own, wanted[0]) for own in found)
    torch.manual_seed(1)
    with fixed_seed(7):
        torch.randn(5)
    assert torch.get_rng_state().equal(torch.manual_seed(1).get_state())


def test_operations_that_do_not_draw_never_see_it():
    """A dispatch mode of Python around a fit took three times as long. Here no operation but draws comes to Python."""
    from torch._C import _dispatch_has_kernel_for_dispatch_key as has_kernel

    with OwnGenerators():
        pass
    assert has_kernel("aten::normal.Tensor_Tensor", KEY) and has_kernel("aten::bernoulli_.float", KEY)
    assert not any(has_kernel(f"aten::{name}", KEY) for name in ("add.Tensor", "mm", "exp", "empty.memory_format"))


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
        lambda: torch.nn.functional.rrelu(-torch.ones(9), training=True),
        lambda: torch.native_dropout(torch.ones(9), 0.5, True)[0],
        lambda: torch.vmap(lambda x: x + torch.randn(3), randomness="different")(torch.zeros(2, 3)),
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
