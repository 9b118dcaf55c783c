"""Two fits in one process do not touch each other, the model passed in, or anything global."""

import copy

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI as PyroSVI
from pyro.infer import Predictive, Trace_ELBO, TraceEnum_ELBO
from reference import COVARIANCES, bits, data, random_mixture

from lowerbound.inference import EM, SVI, compare, elbo_gap, fit
from lowerbound.models import GaussianMixture, seed

X = data(n=60, d=2)
ENGINES = {
    "em": EM(),
    "sampled": SVI(),
    "enumerated": SVI("enumerated"),
    "exact": SVI("exact"),
    "minibatch": SVI(batch_size=20),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_model_passed_in_is_not_touched(covariance, engine):
    model = random_mixture(covariance, X, k=2, prior="weak", concentration=2.0)
    before, random_state = bits(model), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    result = fit(model, X, engine, restarts=2, max_passes=3, labels=np.full(len(X), -1), weights=np.ones(len(X)))
    assert bits(model) == before
    assert bits(result.model) != before
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in result.model.parameters()}
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert all(p.grad is None for p in model.parameters())


def test_a_model_without_parameters_stays_one():
    model = GaussianMixture(2, 2)
    fit(model, X, EM(), max_passes=2)
    assert not model.family.is_set
    with pytest.raises(ValueError, match="not set"):
        model.model(X)


def test_sampling_and_seeding_leave_the_random_state(faithful):
    state = torch.get_rng_state()
    model = seed(GaussianMixture(2, 2), faithful, seed=5)
    model.sample(10, seed=3)
    model.bound(faithful)
    model.posterior(faithful)
    elbo_gap(model, faithful)
    assert torch.equal(torch.get_rng_state(), state)


def test_two_fits_do_not_touch_each_other(faithful):
    """The same two fits, one after the other, in the other order, and of the same model object."""
    model = GaussianMixture(2, 2)

    def run(engine):
        return fit(model, faithful, engine, max_passes=5)

    a, b = run(EM()), run(SVI())
    held = bits(a.model), bits(b.model)
    b2, a2 = run(SVI()), run(EM())
    assert (bits(a2.model), bits(b2.model)) == held
    assert (bits(a.model), bits(b.model)) == held
    compare(faithful, a=a, b=b)
    assert (bits(a.model), bits(b.model)) == held


def pyro_svi(model, loss=None, guide=None):
    return PyroSVI(model.model, guide or model.guide, pyro.optim.Adam({"lr": 0.05}), loss or Trace_ELBO())


@pytest.mark.parametrize("enumerated", [False, True], ids=["trace", "enumerated"])
def test_two_pyro_loops_interleaved_stay_apart(enumerated):
    """Step by step in turn = each alone: same draws for each, so the same bits."""

    def trainer(s):
        model = seed(GaussianMixture(2, 2), X, s)
        loss = TraceEnum_ELBO(max_plate_nesting=1) if enumerated else Trace_ELBO()
        return model, pyro_svi(model, loss, (lambda x: None) if enumerated else None)

    def step(svi, t):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(t)
            return svi.step(X)

    alone = []
    for s in (0, 1):
        model, svi = trainer(s)
        losses = [step(svi, t) for t in range(8)]
        alone.append((losses, bits(model)))
    (a, svi_a), (b, svi_b) = trainer(0), trainer(1)
    losses = [(step(svi_a, t), step(svi_b, t)) for t in range(8)]
    assert alone == [([x for x, _ in losses], bits(a)), ([y for _, y in losses], bits(b))]
    assert alone[0] != alone[1]
    assert alone[0][0][-1] < alone[0][0][0]  # it does learn
    assert list(pyro.get_param_store().keys()) == []


def test_a_deep_copy_is_a_model_of_its_own():
    original = seed(GaussianMixture(2, 2), X)
    twin = copy.deepcopy(original)
    held = bits(original)
    assert bits(twin) == held
    pyro_svi(twin).step(X)
    assert bits(original) == held
    assert bits(twin) != held
    pyro_svi(original).step(X)
    twin.family.loc = torch.zeros(2, 2)
    assert (original.family.loc != 0).all()
    # the copy measures in its own family's units, not in the original's
    twin.initialize(X * 1000, None, torch.Generator().manual_seed(0))
    assert torch.equal(original.family.unit, seed(GaussianMixture(2, 2), X).family.unit)


def test_pyros_own_tools_leave_nothing():
    model = seed(GaussianMixture(2, 2), X)
    held = bits(model)
    trace = poutine.trace(model.model).get_trace(X)
    assert trace.nodes["z"]["value"].shape == (len(X),)
    assert trace.nodes["x"]["is_observed"]
    guide = poutine.trace(model.guide).get_trace(X)
    poutine.trace(poutine.replay(model.model, guide)).get_trace(X).compute_log_prob()
    draws = Predictive(model.model, guide=model.guide, num_samples=5, return_sites=["z"])(X)
    assert draws["z"].shape == (5, len(X))
    Trace_ELBO().loss(model.model, model.guide, X)
    assert bits(model) == held
    assert list(pyro.get_param_store().keys()) == []


def test_a_users_own_parameters_stay_in_the_store():
    """Our programs run with the store emptied and put back what was there, even when they raise."""
    pyro.param("mine", torch.tensor(3.0), constraint=pyro.distributions.constraints.positive)
    pyro.param("weights", torch.tensor([7.0]))  # a name that ours have, too
    model = seed(GaussianMixture(2, 2), X)
    pyro_svi(model).step(X)
    with pytest.raises(ValueError, match="got 1 column, expected 2"):
        model.model(X[:, :1])
    store = pyro.get_param_store()
    assert set(store.keys()) == {"mine", "weights"}
    assert store["mine"].item() == pytest.approx(3)
    assert store["weights"].tolist() == [7.0]
    assert store["mine"].unconstrained().item() == pytest.approx(np.log(3))
    pyro.clear_param_store()


def test_a_model_inside_a_users_pyro_program_keeps_its_parameters_to_itself():
    """Called under a handler of the user's, with a parameter of theirs beside it."""
    model = seed(GaussianMixture(2, 2), X)

    def program(x):
        pyro.param("shift", torch.tensor(0.0))
        return model.model(x)

    names = poutine.trace(program).get_trace(X).nodes.keys()
    assert "shift" in names
    assert set(pyro.get_param_store().keys()) == {"shift"}
    pyro.clear_param_store()


def test_comparing_leaves_the_random_state_alone(faithful):
    one = fit(GaussianMixture(2, 2), faithful, EM(), max_passes=3)
    before = torch.get_rng_state()
    compare(faithful, a=one, b=one)
    assert torch.equal(torch.get_rng_state(), before)
