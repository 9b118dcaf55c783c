"""check_family: what must hold for a family before EM, SVI and compare can rely on it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from ...data.rows import Rows
from ..families.family import Family
from ..families.missing_values import log_prob_and_sums
from ..kernels.parallel_rows import compiles
from ..mixtures.starts import softened
from ..module import restore_frozen
from .close import CLOSE, difference, same

DIFFERS = "differs from log_prob and summarize, expected the same numbers, or sums that lead to the same M-step"
FLAT = 1e-6  # nats per row: the steepest slope that counts as none after an exact M-step
NEAR = 1e-2  # and after many that go there by degrees, or to a kink
STEPS = 200  # how many
GONE = 0.2  # the share of cells that is missing in the check of missing cells


@torch.no_grad()
def check_family(family: Family, x: Any, seed: int = 0) -> None:
    """Check that a family of your own keeps the contract, on rows x (n, d) that it might have given.

    It must give log densities of its rows, sums that add up, an M-step that raises the expected log-likelihood to where
    its gradient is zero, also of the other parameters where one is frozen, if the family says that it is `conditional`;
    the same for rows with missing cells if it takes some; and members that can be relabelled, copied and drawn from.
    The family itself is not changed.
    Raises ValueError at the first thing that does not hold, in one sentence. For all three kinds of family: exact,
    with a second latent variable, or generalized (steps by the gradient).
    """
    if not isinstance(family, Family):
        raise TypeError(f"got {type(family).__name__}, expected a Family")
    family = copy.deepcopy(family)
    name = type(family).__name__
    if not list(family.parameters()):
        raise ValueError(f"{name} has no parameters, expected PyroParams: self.rate = PyroParam(start, constraint)")
    try:
        _check(name, family, x, seed)
    except (RuntimeError, IndexError) as error:  # in the words of torch
        raise ValueError(
            f"{name}: {' '.join(str(error).split())}: expected component(z) of batch shape (n,) for n indices z, "
            "statistics (n, s) of rows (n, d), and match to take means (k, s)"
        ) from error


def _check(name: str, family: Family, x: Any, seed: int) -> None:
    rows = Rows(x)
    x = torch.cat([chunk.x for chunk in rows.chunks()])
    _check_component(name, family, x)
    k = family.components
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randperm(len(x), generator=generator)[:k]
    locations = family.coordinates(x, rows.moments)
    r = softened(locations, locations[centres], 0.3)
    r = r * torch.rand(len(x), 1, generator=generator, dtype=r.dtype)
    family.set_units(x[centres], rows.moments)
    family.start(x, r)
    if not family.is_set:
        missing = ", ".join(sorted(family._pyro_params.keys() - family.names_set))
        raise ValueError(
            f"{name}: match() left {missing} unset, expected it to assign every parameter, as in "
            f"self.{missing.split(',')[0]} = ..."
        )
    _check_log_prob(name, family, x)
    _check_sums(name, family, x, r)
    _check_maximize(name, family, x, r)
    if family.takes_missing:
        gone = torch.rand(x.shape, generator=generator) < GONE
        gone[0] = True
        _check_missing(name, family, x.masked_fill(gone, torch.nan), r)
    for path in family._names() if family.allows_frozen else ():
        held = copy.deepcopy(family)
        held.start(x, r.flip(1))  # another value than the best for r
        _check_maximize(f"{name}, {path} frozen", held.freeze(path), x, r)
    _check_members(name, family, x, r)


def _check_component(name: str, family: Family, x: Tensor) -> None:
    component: Any = family.component()
    if not isinstance(component, TorchDistributionMixin):
        raise ValueError(f"{name}: component() is a {type(component).__name__}, expected one of pyro.distributions")
    k, d = family.components, family.features
    if x.shape[1] != d:
        raise ValueError(f"{name}: got rows of {x.shape[1]} columns, expected {d}, the event shape of component()")
    if len(x) < 2 * k:
        raise ValueError(f"{name}: got {len(x)} rows, expected some for each of {k} components")
    for parameter, (_, _) in family._pyro_params.items():
        value = getattr(family, parameter)
        if value.dtype != torch.float64:
            raise ValueError(f"{name}: {parameter} is {value.dtype}, expected torch.float64")
        if parameter not in family.shared and (value.ndim == 0 or len(value) != k):
            raise ValueError(
                f"{name}: {parameter} has shape {tuple(value.shape)}, expected {k} components on dim 0, or its name in "
                "`shared`"
            )
    outside = family.outside(x)
    if outside is not None and outside.any():
        row, column = outside.nonzero()[0].tolist()
        raise ValueError(
            f"{name}: row {row}, column {column} holds {float(x[row, column]):g}, expected {family.expects}: check it "
            "on rows that it can give"
        )


def _check_log_prob(name: str, family: Family, x: Tensor) -> None:
    log_prob, component = family.log_prob(x), family.component().log_prob(x.unsqueeze(-2))
    if log_prob.shape != component.shape or not same(log_prob, component):
        raise ValueError(
            f"{name}: log_prob(x) differs from component().log_prob by up to {difference(log_prob, component)} nats, "
            "expected the same"
        )
    if not torch.isfinite(log_prob).any(-1).all():
        raise ValueError(f"{name}: some rows have no finite log_prob under any component after a start from them")
    try:
        some = family.component(torch.zeros(5, 1, dtype=torch.long)).batch_shape  # as Pyro enumerates
    except (IndexError, RuntimeError, ValueError):  # of shapes that do not fit each other
        some = ()
    if some != (5, 1):
        raise ValueError(
            f"{name}: component(z) of (5, 1) indices has batch shape {tuple(some)}, expected (5, 1): index all "
            "parameters by z, as in self.rate[z]"
        )
    one = torch.stack([family.component(torch.tensor(j)).log_prob(x) for j in range(family.components)], -1)
    if not same(one, component):
        raise ValueError(f"{name}: component(z) differs from component(), expected its member z: index every parameter")


def _check_sums(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    total, half = family.summarize(x, r), len(x) // 2
    parts = family.summarize(x[:half], r[:half]) + family.summarize(x[half:], r[half:])
    if not same(total, parts):
        raise ValueError(f"{name}: summarize(x) is not the sum over two halves of x, expected statistics that add up")
    visit, log_prob = family.visit(), family.log_prob(x)
    seen, summarize = visit.block(x)
    if not (same(seen, log_prob) and _leads_alike(family, x, r, visit.collect(summarize(r)))):
        raise ValueError(f"{name}: visit() {DIFFERS}")
    if visit.compiled is not None and compiles(x):
        weight, sums, bound = visit.compiled().sum(x, x.new_zeros(log_prob.shape[1]), None, None)
        share = log_prob.softmax(-1)
        right = same(bound, log_prob.logsumexp(-1).sum()) and same(weight, share.sum(0))
        if not (right and _leads_alike(family, x, share, sums)):
            raise ValueError(f"{name}: the compiled pass of visit() {DIFFERS}")


def _leads_alike(family: Family, x: Tensor, r: Tensor, sums: Tensor) -> bool:
    """Whether these sums are those of `summarize`, or at least lead to the same M-step."""
    total = family.summarize(x, r)
    return same(sums, total) or same(*(_maximized(family, r.sum(0), each) for each in (sums, total)))


def _maximized(family: Family, weight: Tensor, total: Tensor) -> Tensor:
    """The parameters that an M-step from these sums leads to."""
    family = copy.deepcopy(family)
    with restore_frozen(family):
        family.maximize(weight, total)
    return torch.cat([parameter.detach().flatten() for parameter in family.parameters()])


def _check_maximize(name: str, family: Family, x: Tensor, r: Tensor, which: str = "") -> None:
    """From other parameters than the best for r, M-steps must lead to a point without slope and never down."""
    weight = r.sum(0)
    if not x.isnan().any():
        with restore_frozen(family):
            family.start(x, r.flip(1))
    value, total = _expected(family, x, r), log_prob_and_sums(family, x)[1](r)
    for _ in range(STEPS):
        before, length = copy.deepcopy(family.state_dict()), 1.0
        total = log_prob_and_sums(family, x)[1](r)
        while True:
            with restore_frozen(family):
                family.maximize(weight, total) if length == 1 else family.maximize(weight, total, length)
            ahead = _expected(family, x, r)
            if ahead >= value - 1e-13 * (1 + abs(value)) or not family.generalized or length < 1e-6:
                break
            family.load_state_dict(before)
            length /= 2
        if not ahead >= value - CLOSE * (1 + abs(value)):
            raise ValueError(
                f"{name}: maximize() lowers the expected log-likelihood {which}from {value:.6g} to {ahead:.6g} nats: "
                "match() does not set the parameters with E[T(x)] = mean"
                + (", or expected_statistics() is not E[T(x)]" if which else "")
            )
        gain, value = ahead - value, ahead
        if gain <= 1e-14 * (1 + abs(value)):
            break
    flat = FLAT if not family.generalized and torch.equal(total, log_prob_and_sums(family, x)[1](r)) else NEAR
    parameters = {label: parameter for label, parameter in family._names().items() if parameter.requires_grad}
    if not parameters:
        return
    with torch.enable_grad():
        slopes = torch.autograd.grad(_terms(family, x, r), list(parameters.values()), allow_unused=True)
    for (label, parameter), slope in zip(parameters.items(), slopes, strict=True):
        if slope is None:
            continue
        steep = float(torch.where(parameter.isinf(), 0.0, slope).abs().max() / weight.sum())
        if not steep <= flat:
            raise ValueError(
                f"{name}: where maximize() ends, {label} still has a slope of "
                f"{steep:.2g} nats per row, expected at most {flat:g}: match() does not maximize the expected "
                "log-likelihood"
            )


def _check_missing(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    """Rows with missing cells: those without any say nothing, and M-steps raise the likelihood of what is seen."""
    log_prob, summarize = log_prob_and_sums(family, x)
    if not torch.isfinite(log_prob).any(-1).all():
        raise ValueError(
            f"{name}: some rows with missing cells have no finite log density, expected that of seen cells"
        )
    if not same(log_prob[:1], torch.zeros_like(log_prob[:1])):
        raise ValueError(
            f"{name}: a row without any cell has log density {float(log_prob[0, 0].detach()):.3g}, expected 0: "
            "marginal(x) is the density of the seen cells alone"
        )
    whole = ~x.isnan().any(1)
    if not torch.isfinite(summarize(r)).all():
        raise ValueError(
            f"{name}: the sums of rows with missing cells are not finite, expected those of E[T(x) | seen]"
        )
    if whole.any() and not same(log_prob[whole], family.log_prob(x[whole])):
        raise ValueError(f"{name}: rows without missing cells change beside rows with some")
    _check_maximize(name, family, x, r, "of the seen cells ")


def _check_members(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    log_prob, k = family.log_prob(x), family.components
    weight, total = r.sum(0), family.summarize(x, r)
    weight[0], total[0] = 0, 0
    idle = copy.deepcopy(family)
    idle.maximize(weight, total)
    if not torch.isfinite(idle.log_prob(x)).any(0).all():
        raise ValueError(f"{name}: a component without weight became impossible, expected it to keep its parameters")
    order = torch.arange(k).flip(0)
    relabelled = copy.deepcopy(family)
    relabelled.permute(order)
    if not same(relabelled.log_prob(x), log_prob[:, order]):
        raise ValueError(
            f"{name}: permute() does not relabel the members: components belong on dim 0 of every parameter and "
            "buffer, or their names in `shared`"
        )
    free, size = family.free_parameters(), sum(p.numel() for p in family.parameters())
    if not 0 <= free <= size:
        raise ValueError(f"{name}: free_parameters() is {free}, expected at most {size}, all there are")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = family.component(torch.arange(100) % k).sample().to(torch.float64)
    outside = family.outside(drawn)
    if drawn.shape != (100, x.shape[1]) or (outside is not None and outside.any()):
        raise ValueError(f"{name}: component(z).sample() gives rows that outside() refuses, expected rows like x")


def _terms(family: Family, x: Tensor, r: Tensor) -> Tensor:
    """Expected log-likelihood plus log prior."""
    return torch.where(r > 0, r * log_prob_and_sums(family, x)[0], 0.0).sum() + family.log_prior()


def _expected(family: Family, x: Tensor, r: Tensor) -> float:
    return float(_terms(family, x, r))
