"""log p(x, z) of each row, read off a model's Pyro program."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from jaxtyping import Float
from pyro import poutine
from torch import Tensor

from ...models import LatentModel
from ...models.param_store import one_pyro_program


def log_joint_density(model: LatentModel, x: Tensor, z: Tensor) -> Float[Tensor, "*s n"]:
    """log p(x, z) of each row in nats, differentiable: the log probabilities of the sites in the plate "rows".

    z: (n, ...) as the program draws it, or (s, n, ...) for s values of each row.
    """
    with one_pyro_program():
        trace = poutine.trace(poutine.condition(model.model, data={"z": z})).get_trace(x)
    trace.compute_log_prob()
    sites: list[Any] = list(trace.nodes.values())
    local = [
        site["log_prob"]
        for site in sites
        if site["type"] == "sample" and any(frame.name == "rows" for frame in site["cond_indep_stack"])
    ]
    return reduce(add, local)
