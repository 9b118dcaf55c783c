"""What Pyro and torch users do with a module, each kind with each model, beside the same call alone."""

import copy
import io
import pickle

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    Importance,
    JitTrace_ELBO,
    Predictive,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    config_enumerate,
)
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal

from lowerbound.inference import EM, SVI, fit, standard_errors
from lowerbound.models import (
    PPCA,
    VAE,
    BayesianMixture,
    Categorical,
    Exponential,
    Gaussian,
    GaussianMixture,
    KMeans,
    Mixture,
    Poisson,
    Product,
    linear_vae,
    seed,
)

X = torch.tensor(
    np.abs(np.r_[np.random.default_rng(0).normal(size=(8, 2)), np.random.default_rng(1).normal(size=(8, 2)) + 6])
)
MODELS = {
    "mixture": GaussianMixture(2, 2),
    "bayes": BayesianMixture(Gaussian(2, 2)),
    "sticks": BayesianMixture(Product(Gaussian(2, 1, "tied"), Exponential(2, 1)), stick_breaking=True),
    "guide": BayesianMixture(Gaussian(2, 2), guide=AutoMultivariateNormal),
    "ppca": PPCA(2, 1),
    "vae": linear_vae(2, 1).double(),
}


def sites(program):
    trace = poutine.trace(program).get_trace(X)
    trace.compute_log_prob()
    return {name: node for name, node in trace.nodes.items() if node["type"] == "sample"}


def steps(elbo, guide=None):
    """Two steps of Pyro's own SVI leave a finite loss."""

    def run(m):
        own = m.guide if guide is None else guide(m)
        svi = pyro.infer.SVI(m.model, own, pyro.optim.Adam({"lr": 0.01}), elbo())
        return np.isfinite([svi.step(X), svi.step(X)]).all()

    return run


def autoguide(kind):
    """A guide of Pyro's own over the parameters, z enumerated. Only a BayesianMixture has sites beside z."""
    run = steps(lambda: TraceEnum_ELBO(max_plate_nesting=1), lambda m: kind(poutine.block(m.model, hide=["z"])))
    return lambda m: not isinstance(m, BayesianMixture) or run(m)


def enumerated(**options):
    """Two steps with z summed out, of a model whose z is a component."""
    run = steps(lambda: TraceEnum_ELBO(max_plate_nesting=1, **options), lambda m: config_enumerate(m.guide))
    return lambda m: not isinstance(m, Mixture) or run(m)


def same_draws(m):
    one, other = (sites(poutine.seed(m.model, 1))["z"]["value"] for _ in range(2))
    return torch.equal(one, other)


def predictive(**options):
    def run(m):
        found = Predictive(m.model, guide=m.guide, num_samples=5, **options)(X)
        return found["z"].shape[0] == 5 and 16 in found["z"].shape

    return run


def in_outer_plate(m):
    with pyro.plate("outer", 3, dim=-2):
        found = sites(m.model)
    return found["x"]["log_prob"].shape == (3, 16) and (found["x"]["log_prob"].isfinite()).all()


def with_fixed_z(handler):
    def run(m):
        z = sites(m.model)["z"]["value"]
        return sites(handler(m.model, {"z": z}))["x"]["log_prob"].isfinite().all()

    return run


def stored(m):
    file = io.BytesIO()
    torch.save(m, file)
    file.seek(0)
    return same(torch.load(file, weights_only=False), m)


def same(other, m):
    return torch.equal(other.bound(X), m.bound(X))


def state_goes_round(m):
    other = copy.deepcopy(m)
    for parameter in other.parameters():
        parameter.data = parameter.data + 0.1
    other.load_state_dict(m.state_dict())
    return same(other, m)


def in_other_precision(m):
    before = m.bound(X)
    for cast in (lambda o: o.float(), lambda o: o.double(), lambda o: o.to(torch.float32), lambda o: o.to("cpu")):
        cast(m)
        m.sample(2, seed=0), sites(m.model)
        after = m.bound(X).double()  # of a VAE an estimate by draws that follow from the bits of the rows
        assert after.isfinite().all() if isinstance(m, VAE) else torch.allclose(after, before, rtol=1e-3, atol=1e-3)
    return not isinstance(m, Mixture) or all(p.dtype == torch.float64 for p in m.parameters())


def fit_in(mode, engine):
    def run(m):
        plain = fit(m, X, engine, max_passes=2).bounds
        with mode():
            return torch.equal(fit(m, X.clone(), engine, max_passes=2).bounds, plain)

    return run


def learned_params(m):
    names = dict(m.named_parameters())
    return len(names) == len(list(m.parameters())) > 0 and m.requires_grad_(False).eval().train().training


def parameters_as_a_vector(m):
    other = copy.deepcopy(m)
    torch.nn.utils.vector_to_parameters(torch.nn.utils.parameters_to_vector(m.parameters()), other.parameters())
    return torch.allclose(other.bound(X), m.bound(X))


KINDS = {
    "Predictive": predictive(),
    "Predictive, parallel": predictive(parallel=True),
    "Predictive of the prior": lambda m: Predictive(m.model, num_samples=3)(X)["z"].shape[:2] == (3, 16),
    "Importance": lambda m: np.isfinite(float(Importance(m.model, m.guide, num_samples=3).run(X).get_log_normalizer())),
    "condition": with_fixed_z(lambda model, data: poutine.condition(model, data=data)),
    "do": with_fixed_z(lambda model, data: poutine.do(model, data=data)),
    "substitute": lambda m: "z" in sites(poutine.substitute(m.model, data={})),
    "block": lambda m: "z" not in sites(poutine.block(m.model, hide=["z"])),
    "replay": lambda m: sites(poutine.replay(m.model, trace=poutine.trace(m.guide).get_trace(X)))["x"] is not None,
    "seed": same_draws,
    "scale": lambda m: sites(poutine.scale(m.model, 2.0))["x"]["scale"] == 2,
    "mask": lambda m: float(sites(poutine.mask(m.model, False))["x"]["log_prob_sum"]) == 0,
    "uncondition": lambda m: sites(poutine.uncondition(m.model))["x"]["value"].shape == X.shape,
    "outer plate": in_outer_plate,
    "Trace_ELBO": steps(Trace_ELBO),
    "vectorized particles": steps(lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)),
    "plates guessed": steps(lambda: Trace_ELBO(num_particles=3, vectorize_particles=True)),
    "TraceEnum_ELBO": enumerated(),
    "TraceEnum_ELBO, vectorized": enumerated(num_particles=3, vectorize_particles=True),
    "TraceGraph_ELBO": steps(TraceGraph_ELBO),
    "RenyiELBO": steps(lambda: RenyiELBO(num_particles=3)),
    "RenyiELBO, vectorized": steps(lambda: RenyiELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)),
    "AutoNormal": autoguide(AutoNormal),
    "AutoDelta": autoguide(AutoDelta),
    "torch.save": stored,
    "pickle": lambda m: same(pickle.loads(pickle.dumps(m)), m),
    "deepcopy": lambda m: same(copy.deepcopy(m), m),
    "state_dict": state_goes_round,
    "parameters": learned_params,
    "parameters_to_vector": parameters_as_a_vector,
    "precision": in_other_precision,
    "no_grad": fit_in(torch.no_grad, SVI()),
    "inference_mode": fit_in(torch.inference_mode, SVI()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_of_pyro_holds_for_every_model(kind, as_users_run_it):
    with pyro.get_param_store().scope():
        wrong = []
        for name, model in MODELS.items():
            pyro.set_rng_seed(0)
            try:
                if not KINDS[kind](seed(copy.deepcopy(model), X)):
                    wrong.append(name)
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")
        assert not wrong


def test_a_jit_is_refused_in_one_sentence(as_users_run_it):
    for model in MODELS.values():
        with pytest.raises(TypeError, match=r"keep none, expected an estimator without Jit"):
            steps(JitTrace_ELBO)(seed(copy.deepcopy(model), X))


def test_particles_in_a_plate_have_the_densities_of_the_same_theta_alone(as_users_run_it):
    x = X.clone()
    for name in ("bayes", "sticks", "guide"):
        model = seed(copy.deepcopy(MODELS[name]), X)
        with pyro.plate("particles", 3, dim=-2):
            drawn = poutine.trace(model.guide).get_trace(x)
            found = sites(poutine.replay(model.model, trace=drawn))
        theta = {n: v["value"] for n, v in drawn.nodes.items() if v["type"] == "sample" and n not in ("z", "particles")}
        theta = {n: v.reshape(3, *v.shape[2:]) for n, v in theta.items() if n != "rows" and not n.startswith("_")}
        z = drawn.nodes["z"]["value"]
        for i in range(3):
            one = {n: v[i] for n, v in theta.items() if n in found} | {"z": z[i]}
            alone = sites(poutine.condition(model.model, data=one))
            for site in found.keys() & alone.keys() - {"rows", "particles"}:
                own = found[site]["log_prob"]
                if own.ndim:
                    torch.testing.assert_close(own[i].reshape(-1), alone[site]["log_prob"].reshape(-1))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_is_made_in_these_modes_is_fitted_in_them(mode, as_users_run_it):
    with mode():
        for model, engine in ((GaussianMixture(2, 2), EM()), (KMeans(2, 2), EM()), (PPCA(2, 1), SVI("exact"))):
            made = fit(seed(model, X.clone()), X.clone(), engine, weights=torch.ones(16), max_passes=20)
            assert made.gradient_norm is not None and made.gradient_norm >= 0
        made = fit(Mixture(Poisson(1, 2)), X.round(), EM())
        found = standard_errors(made, X.round())["family.rate"][0]
    np.testing.assert_allclose(found, (X.round().mean(0) / 16).sqrt(), rtol=1e-6)


def test_half_precision_and_families_alone_stay_float64(as_users_run_it):
    for family in (Poisson(2, 2), Categorical(2, [9, 9]), Product(Gaussian(2, 1), Poisson(2, 1))):
        model = seed(Mixture(family), X.round().clamp(max=8))
        before = model.bound(X.round().clamp(max=8))
        assert torch.equal(model.half().bound(X.round().clamp(max=8).float()), before)
        net = torch.nn.Sequential(torch.nn.Linear(2, 2), model).float()  # the head of a network in single precision
        assert net[0].weight.dtype == torch.float32 and net[1].weights.dtype == torch.float64
        assert all(p.dtype == torch.float64 for p in copy.deepcopy(model.family).to(torch.float32).parameters())


def test_names_of_datasets_and_inference_do_not_collide():
    scope: dict = {}
    exec("from lowerbound.inference import *\nfrom lowerbound.datasets import *", scope)
    from lowerbound.inference import load

    assert scope["load"] is load
