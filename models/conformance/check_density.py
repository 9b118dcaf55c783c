"""The density of a family: `component` and `log_prob` agree, and index every parameter by z."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from ...data.input_checks import counted
from ..families.family import Family
from ..random_state import fixed_seed
from .nearly_equal import difference, same


def check_component(name: str, family: Family, x: Tensor) -> None:
    """`component()` is a distribution of k rows that can give x, and parameters have the component on dim 0."""
    component: Any = family.component()
    if not isinstance(component, TorchDistributionMixin):
        raise ValueError(f"{name}: component() is a {type(component).__name__}, expected one of pyro.distributions")
    k, d = family.components, family.features
    if x.shape[1] != d:
        raise ValueError(
            f"{name}: got rows of {counted(x.shape[1], 'column')}, expected {d}, the event shape of component()"
        )
    if len(x) < 2 * k:
        raise ValueError(f"{name}: got {counted(len(x), 'row')}, expected some for each of {k} components")
    for parameter in family._pyro_params:
        value = family.value(parameter)
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


def check_log_prob(name: str, family: Family, x: Tensor) -> None:
    """`log_prob(x)` is that of `component()`, and `component(z)` is component z of it."""
    log_prob, component = family.log_prob(x), family.component().log_prob(x.unsqueeze(-2))
    if log_prob.shape != component.shape or not same(log_prob, component):
        raise ValueError(
            f"{name}: log_prob(x) differs from component().log_prob by up to {difference(log_prob, component)} nats, "
            "expected the same"
        )
    if not torch.isfinite(log_prob).any(-1).all():
        raise ValueError(f"{name}: some rows have no finite log_prob under any component after a start from them")
    try:
        batch_shape = family.component(torch.zeros(5, 1, dtype=torch.long)).batch_shape  # as Pyro enumerates
    except (IndexError, RuntimeError, ValueError):  # of shapes that do not fit each other
        batch_shape = ()
    if batch_shape != (5, 1):
        raise ValueError(
            f"{name}: component(z) of (5, 1) indices has batch shape {tuple(batch_shape)}, expected (5, 1): index all "
            "parameters by z, as in self.rate[z]"
        )
    each = torch.stack([family.component(torch.tensor(j)).log_prob(x) for j in range(family.components)], -1)
    if not same(each, component):
        raise ValueError(f"{name}: component(z) differs from component(), expected its row z: index every parameter")


def check_components(name: str, family: Family, x: Tensor, r: Tensor) -> None:
    """Components can be relabelled, left without weight, counted and drawn from."""
    log_prob, k = family.log_prob(x), family.components
    weight, total = r.sum(0), family.summarize(x, r)
    weight[0], total[0] = 0, 0
    without = copy.deepcopy(family)
    without.maximize(weight, total)
    if not torch.isfinite(without.log_prob(x)).any(0).all():
        raise ValueError(f"{name}: a component without weight became impossible, expected it to keep its parameters")
    order = torch.arange(k).flip(0)
    relabelled = copy.deepcopy(family)
    relabelled.permute(order)
    if not same(relabelled.log_prob(x), log_prob[:, order]):
        raise ValueError(
            f"{name}: permute() does not relabel the components: they belong on dim 0 of every parameter and buffer, "
            "or their names in `shared`"
        )
    free, size = family.free_parameters(), sum(p.numel() for p in family.parameters())
    if not 0 <= free <= size:
        raise ValueError(f"{name}: free_parameters() is {free}, expected at most {size}, all there are")
    with fixed_seed(0):
        drawn = family.component(torch.arange(100) % k).sample().to(torch.float64)
    outside = family.outside(drawn)
    if drawn.shape != (100, x.shape[1]) or (outside is not None and outside.any()):
        raise ValueError(f"{name}: component(z).sample() gives rows that outside() refuses, expected rows like x")
