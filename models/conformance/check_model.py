"""check_model: what must hold for a model before engines and `compare` can rely on it."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.distributions import Categorical

from ...data.rows import Rows, as_rows
from ..abilities import HasContinuousLatent, HasExactBound, Prepares, is_module
from ..contract import LatentModel, SupportsEM, SupportsPosterior, lacking
from ..module import Recorded
from ..random_state import fixed_seed, gpus
from .check_em import check_em
from .check_model_abilities import check_model_abilities
from .nearly_equal import Same, difference, rounding_for, same_for

DRAWS = 32  # of the ELBO of the Pyro pair
ERRORS = 6.0  # standard errors by which the mean of these may be off
ROWS = 200  # of x that are looked at
EXACT = 1e-9  # relative: ELBOs of several draws that differ by less do not depend on the draw


def check_model(model: Any, x: Any, seed: int = 0) -> None:
    """Check that a model of your own keeps the contract `LatentModel`, on rows that it might have to fit.

    The Pyro pair, `bound`, `objective` and `evidence` must agree on the same rows; rows must be independent given the
    parameters; weights and minibatches must scale as they should; starts and samples must depend on their seed alone.
    A model with `expect` and `maximize` must raise its bound by EM. Optional abilities (`lowerbound.models.abilities`)
    are checked where the model has them: `HasComponents` (relabelling keeps the bound), `TakesMissingValues` (bounds of
    complete rows do not change), `Imputes` (observed values stay, the others become numbers), `Summarizes`,
    `HasExpectedLogJoint` (Fisher's identity) and `HasContinuousLatent` (shapes). Of `SupportsPosterior` and
    `SupportsBatch` nothing beyond the contract is checked. The model itself is not changed.

    Args:
        model: any object with the methods of `LatentModel`, as its constructor made it: its parameters need not be
            set. (A model of ours may have been fitted before.)
        x: (n, d) rows, as `fit` takes them; the first 200 are used.
        seed: of the start and of all draws.

    Raises:
        TypeError: methods of the contract are missing.
        ValueError: something does not hold, in one sentence that says what came, what was expected and what to do.

    Example:
        >>> import torch
        >>> from lowerbound.models import GaussianMixture, check_model
        >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
        >>> check_model(GaussianMixture(components=2, features=2), x)  # silent: all is well
    """
    name = type(model).__name__
    if not isinstance(model, LatentModel):
        lacks = ", ".join(lacking(model, LatentModel))
        raise TypeError(f"{name} lacks {lacks}, expected the methods of LatentModel: write them")
    with fixed_seed(seed, gpus(model)):
        model = copy.deepcopy(model)
        if isinstance(model, torch.nn.Module):
            model.eval()
        rows = as_rows(x, model=model)
        rows = rows if len(rows) <= ROWS else rows.part(0, ROWS)
        if isinstance(model, Prepares):
            model.prepare()
        same = same_for(model)
        _check_first_start(name, model, rows, seed)
        _check_start(name, model, rows, seed, same)
        x = torch.cat([chunk.x for chunk in rows.chunks()])
        _check_bound(name, model, x, same)
        _check_pair(name, model, x, seed)
        _check_sample(name, model, x)
        _check_parameters(name, model, x)
        _check_copy(name, model, rows, x, same)
        if isinstance(model, SupportsEM):
            check_em(name, model, x, same)
        check_model_abilities(name, model, x, seed, same)


def _check_first_start(name: str, model: Any, rows: Rows, seed: int) -> None:
    """`initialize(redraw=False)`, with which a fit begins, sets the parameters of a model that has none yet."""
    if _was_set(model):
        return
    stayed = []
    for redraw in (False, True):
        one = copy.deepcopy(model)
        before = [tensor.detach().clone() for tensor in _tensors(one)]
        one.initialize(rows, None, torch.Generator().manual_seed(seed), redraw=redraw)
        pairs = zip(before, _tensors(one), strict=True)
        stayed.append(all(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in pairs))
    if stayed == [True, False]:
        raise ValueError(
            f"{name}: initialize(redraw=False) leaves all parameters of a new model as the constructor made them, "
            "expected it to set them, because a fit begins with it: make them NaN in the constructor, and draw them "
            "`if redraw or self.rate.isnan().any()` (rate: a parameter of yours). If you set them before this check, "
            "check a new model"
        )


def _was_set(model: Any) -> bool:
    """Whether a model of ours, or one that inherits from it, remembers that its parameters were set."""
    if not isinstance(model, Recorded):
        return False
    says_itself = type(model).is_set is not Recorded.is_set  # also of what is no PyroParam
    return (says_itself and model.is_set) or any(part.names_set for part in model.recorded())


def _tensors(model: Any) -> list[Tensor]:
    """All that the model says it depends on."""
    return [*model.parameters(), *(model.buffers() if isinstance(model, torch.nn.Module) else ())]


def _check_start(name: str, model: Any, rows: Rows, seed: int, same: Same) -> None:
    """`initialize` sets parameters from its generator alone, and keeps them when told to."""
    twin = copy.deepcopy(model)
    for one in (model, twin):
        torch.rand(1)  # torch's own random state must not matter
        one.initialize(rows, None, torch.Generator().manual_seed(seed))
    first = next(rows.chunks()).x
    if not same(model.bound(first), twin.bound(first)):
        raise ValueError(
            f"{name}: initialize() gives other parameters for the same generator, expected the same: draw all random "
            "numbers from the generator that it is given"
        )
    before = model.bound(first)
    model.initialize(rows, None, torch.Generator().manual_seed(seed + 1), redraw=False)
    if not same(model.bound(first), before):
        raise ValueError(f"{name}: initialize(redraw=False) changes parameters that are set, expected to keep them")
    model.check()


def _check_bound(name: str, model: Any, x: Tensor, same: Same) -> None:
    """`bound`, `objective`, `posterior` and `evidence` of the same rows."""
    n, bound = len(x), model.bound(x)
    if not isinstance(bound, Tensor) or bound.shape != (n,):
        raise ValueError(f"{name}: bound(x) of {n} rows is {_shape(bound)}, expected a tensor of shape ({n},)")
    if not torch.isfinite(bound).all():
        row = int((~torch.isfinite(bound)).nonzero()[0])
        raise ValueError(
            f"{name}: bound(x) of row {row} is {float(bound[row])} after initialize() on these rows, expected a finite "
            "number of nats: start from parameters under which all rows are possible"
        )
    if bound.requires_grad:
        raise ValueError(f"{name}: bound(x) carries a gradient, expected none: compute it under torch.no_grad()")
    objective = model.objective(x)
    if not same(objective, bound):
        raise ValueError(
            f"{name}: objective(x) differs from bound(x) by up to {difference(objective, bound)} nats, expected the "
            "same numbers, with a gradient"
        )
    if any(p.requires_grad for p in model.parameters()) and not objective.requires_grad:
        raise ValueError(f"{name}: objective(x) carries no gradient, expected one in the parameters: do not detach it")
    half = n // 2
    if half and not same(model.bound(x[:half]), bound[:half]):
        raise ValueError(
            f"{name}: bound(x) of a row depends on the rows beside it, expected rows that are independent given the "
            "parameters (draws of z should come from noise that belongs to the row)"
        )
    batch = tuple(model.posterior(x).batch_shape)
    if batch != (n,):
        raise ValueError(f"{name}: posterior(x) has batch shape {batch}, expected ({n},), one distribution per row")
    evidence = model.evidence(x)
    if evidence is None or isinstance(model, SupportsPosterior):
        return
    if evidence.shape != (n,):
        raise ValueError(f"{name}: evidence(x) has shape {tuple(evidence.shape)}, expected ({n},), or None")
    evidence, error = evidence.detach().double(), _error_of_bound(model, x)
    above = bound.double() - evidence - rounding_for(model) * (1 + evidence.abs())
    if error > 0:  # the bound is estimated: only its sum is known
        above = above.sum() - ERRORS * error
    if not (above <= 0).all():
        raise ValueError(
            f"{name}: bound(x) is above log p(x) by up to {float(above.max()):.3g} nats, expected a lower bound of "
            "evidence(x)"
        )


def _check_pair(name: str, model: Any, x: Tensor, seed: int) -> None:
    """The ELBO of the Pyro pair is the sum of `bound`, and scales with weights and with `rows`."""
    n, term = len(x), float(model.global_term().detach())
    if not math.isfinite(term):
        raise ValueError(f"{name}: global_term() is {term}, expected a finite number of nats")
    elbo = Trace_ELBO()

    def estimate(number: int, weights: Tensor | None = None, stands_for: float | None = None) -> float:
        with fixed_seed(seed + number), torch.no_grad():
            return -float(elbo.loss(model.model, model.guide, x, weights, None, stands_for))

    drawn = torch.tensor([estimate(i) for i in range(DRAWS)], dtype=torch.float64)
    total = float(model.bound(x).double().sum()) + term
    error = ERRORS * (float(drawn.std()) / math.sqrt(DRAWS) + _error_of_bound(model, x)) + 1e-5 * (1 + abs(total))
    if not abs(float(drawn.mean()) - total) <= error:
        raise ValueError(
            f"{name}: Trace_ELBO of the pair is {float(drawn.mean()):.6g} nats on average, the sum of bound(x) plus "
            f"global_term() is {total:.6g}, expected the same: log p(x, z) - log q(z | x) of model and guide"
        )
    if float(drawn.std()) <= EXACT * (1 + abs(total)):
        _check_evidence(name, model, x)
    once, ones = float(drawn[0]), torch.ones(n, dtype=torch.float64)
    twice, thrice = estimate(0, weights=2 * ones), estimate(0, weights=3 * ones)
    for what, value, wanted in (
        ("row weights of 3", thrice, 2 * twice - once),  # for the same draws the ELBO is linear in the weights
        (f"rows={2 * n}", estimate(0, stands_for=2.0 * n), twice),
    ):
        if not abs(value - wanted) <= 1e-5 * (1 + abs(wanted)):
            raise ValueError(
                f"{name}: with {what} the ELBO of the pair is {value:.6g} nats, expected {wanted:.6g}: scale all sites "
                "of the plate, in model and guide alike, by weights * rows / n, and the prior not at all"
            )
    if twice == once:
        raise ValueError(f"{name}: row weights do not change the ELBO of the pair, expected them to scale each row")


def _check_evidence(name: str, model: Any, x: Tensor) -> None:
    """Where log p(x, z) - log q(z | x) is the same for every draw of z, it is log p(x): q is the posterior.

    Rows for which q excludes some z, as that of k-means does, are left out.
    """
    evidence = None if isinstance(model, SupportsPosterior) else model.evidence(x)
    if evidence is None:
        return
    q = model.posterior(x)
    if isinstance(q, Delta):
        return
    known = (q.probs > 0).all(-1) if isinstance(q, Categorical) else torch.ones(len(x), dtype=torch.bool)
    gap = (evidence.detach().double() - model.bound(x).double())[known]
    if not (gap.abs() <= rounding_for(model) * (1 + evidence[known].detach().abs())).all():
        raise ValueError(
            f"{name}: evidence(x) is above bound(x) by up to {float(gap.max()):.3g} nats, expected the same: the ELBO "
            "of the pair does not depend on the draw of z, so that the guide is the posterior"
        )


def _error_of_bound(model: Any, x: Tensor) -> float:
    """The standard error of the sum of `bound` where it is estimated by draws of z, else 0, in nats."""
    exact = isinstance(model, HasExactBound) and model.has_exact_bound
    if exact or not isinstance(model, HasContinuousLatent):
        return 0.0
    with torch.no_grad():
        log_likelihood = model.draws(x, 4).log_likelihood.double()  # (4, n); the bound takes at least one draw
    return float(log_likelihood.var(0).sum().sqrt())


def _check_sample(name: str, model: Any, x: Tensor) -> None:
    """`sample` gives rows like x, by its seed alone."""
    before = torch.random.get_rng_state()
    drawn, again, other = (model.sample(5, seed=number) for number in (1, 1, 2))
    if not torch.equal(torch.random.get_rng_state(), before):
        raise ValueError(
            f"{name}: sample(n, seed) moves torch's random state, expected it as it was: draw inside "
            "torch.random.fork_rng()"
        )
    if drawn.shape != (5, x.shape[1]):
        raise ValueError(f"{name}: sample(5) has shape {tuple(drawn.shape)}, expected (5, {x.shape[1]})")
    if not torch.equal(drawn, again) or torch.equal(drawn, other):
        raise ValueError(f"{name}: sample(n, seed) does not depend on its seed alone, expected the same rows for one")
    if not torch.isfinite(model.bound(drawn)).all():
        raise ValueError(f"{name}: bound(x) of rows that sample() drew is not finite, expected rows that it can give")


def _check_parameters(name: str, model: Any, x: Tensor) -> None:
    """`free_parameters` and the gradient of the bound."""
    free, size = model.free_parameters(), sum(p.numel() for p in model.parameters())
    if not isinstance(free, int) or not 0 <= free <= size:
        raise ValueError(f"{name}: free_parameters() is {free!r}, expected a whole number from 0 to {size}")
    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not moved:
        return
    value = model.objective(x).sum() + model.global_term()
    for slope in torch.autograd.grad(value, moved, allow_unused=True):
        if slope is not None and slope.isnan().any():
            raise ValueError(
                f"{name}: the gradient of objective(x) is NaN, expected numbers: look for 0 * inf, or a square root or "
                "logarithm at 0"
            )


def _check_copy(name: str, model: Any, rows: Rows, x: Tensor, same: Same) -> None:
    """A copy is independent of the original, and takes its state."""
    before, twin = model.bound(x), copy.deepcopy(model)
    twin.initialize(rows, None, torch.Generator().manual_seed(7))
    if not same(model.bound(x), before):
        raise ValueError(f"{name}: a deep copy shares parameters with the original, expected its own: see __deepcopy__")
    if is_module(model):
        twin.load_state_dict(model.state_dict())
        if not same(twin.bound(x), before):
            raise ValueError(
                f"{name}: bound(x) differs after load_state_dict(state_dict()), expected the same: keep all that it "
                "depends on in parameters and buffers"
            )


def _shape(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
