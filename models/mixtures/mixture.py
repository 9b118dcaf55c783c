"""The finite mixture of any family: p(x) = sum_k weights[k] p(x | z = k)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Bool, Float, Int
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints, transform_to

from ...data.input_checks import as_labels, as_tensor, as_weights, first_cell
from ...data.moments import Moments
from ...data.open_table import conform
from ...data.rows import Rows, as_rows, by_chunks
from ...data.schema import Schema
from ...data.threads import threads_for
from ..contract import Collapse, Statistics
from ..families.family import Family
from ..families.missing_values import ObservedValues, log_density
from ..kernels.parallel_rows import compiles
from ..module import Recorded, device_of, hold_fixed, local_params, on_the_cpu, restore_frozen
from .e_step import allowed, sum_blocks
from .impute import Imputed, drawn_missing, imputed
from .mixture_batch import Batch
from .starts import draw_start

Made = TypeVar("Made", bound=Statistics)


class Mixture(Recorded):
    """z ~ Categorical(weights), x | z = k ~ family[k]: a Pyro model/guide pair whose guide is the exact posterior.

    weights: (k,) on the simplex, a `PyroParam`; family: any `Family` of k members.
    concentration: None, or the parameter >= 1 of a symmetric Dirichlet prior on the weights.
    """

    weights: Tensor
    weights_unconstrained: Tensor
    schema: Schema | None = None  # of the table it was fitted to, so that new rows are read in the same way
    softness = 0.1  # the share of each row that a start spreads over all components: fewer starts are singular

    def __init__(self, family: Family, concentration: float | None = None):
        super().__init__()
        if not isinstance(family, Family):
            raise TypeError(f"got {type(family).__name__}, expected a Family such as Gaussian(components, features)")
        if concentration is not None and not isinstance(concentration, Real):
            raise TypeError(
                f"concentration is {concentration!r}, expected a number or None (families for different columns go "
                "into a Product)"
            )
        if concentration is not None and not concentration >= 1:
            raise ValueError(
                f"concentration is {concentration!r}, expected at least 1: below it the density of the weights has no "
                "maximum inside the simplex, so that a sparse Dirichlet needs a posterior over weights, not MAP"
            )
        if not isinstance(family.component(), TorchDistributionMixin):
            raise TypeError(
                f"{type(family).__name__}.component() returns a {type(family.component()).__module__} distribution, "
                "expected one of pyro.distributions: Pyro enumerates and scales only its own"
            )
        self.family = family
        self.concentration = concentration
        k = family.components
        self.weights = PyroParam(torch.full((k,), 1 / k, dtype=torch.float64), constraints.simplex)  # type: ignore[assignment]

    # the Pyro pair

    @local_params
    def model(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro model: plate("rows"): z ~ Categorical(weights); x ~ family.component(z). Returns the drawn z.

        x: (n, d); weights: (n,) row weights; labels: (n,) known z, -1 where unknown; rows: how many rows x stands for
        (n), so that a minibatch's local terms are scaled by rows / n. The log prior enters once, outside the plate.
        """
        x, weights, labels, scale = self._intake(x, weights, labels, rows)
        pyro.factor("prior", self.global_term())
        with pyro.plate("rows", len(x)), poutine.scale(scale=scale):
            z = pyro.sample("z", dist.Categorical(logits=self.weights.log()), infer={"enumerate": "parallel"})
            if labels is not None:
                unlike = (labels >= 0) & (labels != z)
                pyro.factor("labels", torch.where(unlike, -torch.inf, 0.0).to(x.dtype))
            component: Any = ObservedValues(self.family, z) if x.isnan().any() else self.family.component(z)
            pyro.sample("x", component, obs=x)
        return z

    @local_params
    def guide(self, x: Any, weights: Any = None, labels: Any = None, rows: float | None = None) -> Tensor:
        """Pyro guide, the E-step: z ~ p(z | x), detached, so that log p(x, z) - log q(z | x) = log p(x) for any z drawn
        and its gradient is that of log p(x) in the mean. Arguments as in `model`. For `TraceEnum_ELBO` pass
        `config_enumerate(guide)`; a guide that draws nothing leaves z to the model, which Pyro takes only without row
        weights."""
        x, weights, labels, scale = self._intake(x, weights, labels, rows)
        with torch.no_grad():
            logits = self._logits(x, labels)
        with pyro.plate("rows", len(x)), poutine.scale(scale=scale):
            return pyro.sample("z", dist.Categorical(logits=logits))

    @property
    def takes_missing(self) -> bool:
        """Whether rows may have NaN, for cells that were not seen."""
        return self.family.takes_missing

    # what the pair implies, in closed form

    def posterior(self, x: Any, labels: Any = None) -> dist.Categorical:
        """The responsibilities p(z = k | x) as a Categorical with batch shape (n,); `.probs` is (n, k)."""
        return dist.Categorical(logits=self._posterior_logits(x, labels))

    @by_chunks
    @torch.no_grad()
    def _posterior_logits(self, x: Any, labels: Any = None) -> Float[Tensor, "n k"]:
        x = self._table(x)
        return self._logits(x, self._known(labels, len(x)))

    def predict(self, x: Any, labels: Any = None) -> Int[Tensor, " n"]:
        """The likeliest component of each row, 0 .. k - 1; the known one where there is a label."""
        return self.posterior(x, labels).logits.argmax(-1)

    @by_chunks
    def bound(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """log p(x) of each row in nats (with its label where one is known): the bound is tight. No gradient."""
        with torch.no_grad():
            return self.objective(x, labels)

    def objective(self, x: Any, labels: Any = None) -> Float[Tensor, " n"]:
        """The same numbers as `bound`, differentiable in the parameters."""
        x = self._table(x)
        return torch.logsumexp(self._log_joint(x, self._known(labels, len(x))), -1)

    @by_chunks
    def evidence(self, x: Any) -> Float[Tensor, " n"]:
        """log p(x) = log sum_k weights[k] p(x | z = k) of each row in nats."""
        with torch.no_grad():
            return torch.logsumexp(self._log_joint(self._table(x), None), -1)

    def global_term(self) -> Float[Tensor, ""]:
        """log p(theta), the log prior density of the parameters; 0 where there is no prior (maximum likelihood)."""
        prior = self.family.log_prior()
        # without a prior of theirs the weights need not be brought to the simplex: a step of a small fit is such calls
        return prior if self.concentration is None else prior + self._log_prior_of_weights(self.weights)

    def _log_prior_of_weights(self, weights: Float[Tensor, "*copies k"]) -> Float[Tensor, "*copies"] | float:
        """The log Dirichlet density of weights; 0 without a prior."""
        if self.concentration is None:
            return 0.0
        return dist.Dirichlet(torch.full_like(weights, self.concentration)).log_prob(weights)

    def _shares(self, counts: Float[Tensor, "*copies k"]) -> Float[Tensor, "*copies k"]:
        """The M-step of the weights: in proportion to these counts, those of the prior added."""
        counts = counts if self.concentration is None else counts + (self.concentration - 1)
        return counts / counts.sum(-1, keepdim=True)

    def batch(self, rows: Rows, generators: Sequence[torch.Generator]) -> Batch | None:
        """This mixture, started on these rows, and one new start of its kind from each generator, in one tensor; None
        where the family cannot."""
        frozen = any(not parameter.requires_grad for parameter in self.parameters())
        # each start fills its own gaps; a GPU is for tables whose passes are arithmetic, not calls
        alone = frozen or rows.gaps.cells or device_of(self).type != "cpu"
        if not self.family.repeatable or self.generalized or alone:
            return None
        return Batch(self, rows, generators)

    @on_the_cpu
    @torch.no_grad()
    def impute(self, x: Any) -> Imputed:
        """Each missing cell at its posterior mean given the seen cells of its row, a code at the likeliest one, and how
        uncertain that is. x: (n, d) with NaN where missing. `.frame()` is a table with names and words."""
        rows = self._table(x)
        names = self.schema or Schema.plain(rows.shape[1])
        table = conform(x, self) if isinstance(x, pd.DataFrame) else names.frame(rows.numpy())
        return imputed(self.family, rows, torch.softmax(self._logits(rows, None), -1), table)

    @on_the_cpu
    @torch.no_grad()
    def draw_missing(self, x: Any, draws: int = 1, seed: int | None = None) -> Float[Tensor, "m n d"]:
        """The table x (n, d) several times, its missing cells drawn anew each time from their joint distribution given
        the seen cells of their row: multiple imputations (Rubin 1987), whose quantiles are intervals. The same draws
        for the same seed; without one, from torch's own random state."""
        x = self._table(x)
        if not isinstance(draws, Integral) or draws < 1:
            raise ValueError(f"draws is {draws!r}, expected a whole number of at least 1")
        gone = x.isnan().any(1)
        with torch.random.fork_rng(enabled=seed is not None, devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            found = x.repeat(int(draws), 1, 1)
            if gone.any():
                z = dist.Categorical(logits=self._logits(x[gone], None)).sample((int(draws),))
                found[:, gone] = drawn_missing(self.family, found[:, gone], z)
        return found

    @on_the_cpu
    def sample(self, n: int, seed: int | None = None, labels: bool = False) -> Any:
        """n rows (n, d) drawn from the mixture; with labels=True also the components (n,) they were drawn from.

        The same rows for the same seed; without one, from torch's own random state.
        """
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n is {n!r}, expected a whole number of rows of at least 1")
        self._require_parameters()
        with torch.no_grad(), torch.random.fork_rng(enabled=seed is not None, devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            z = dist.Categorical(self.weights).sample((int(n),))
            x = self.family.component(z).sample().to(torch.float64)
        return (x, z) if labels else x

    def free_parameters(self) -> int:
        """Those of the family and k - 1 weights, but for frozen ones."""
        return self.family.free_parameters() + (0 if self.is_frozen("weights") else len(self.weights) - 1)

    # the two steps of EM

    @torch.no_grad()
    def prepare(self) -> None:
        """Compile what the E-step needs, or load it, so that this takes no time later: seconds once for an
        installation, then a part of one in each process."""
        rows = torch.zeros(1, self._kind.features, dtype=torch.float64, device=device_of(self))
        compiled = self._kind.visit().compiled
        if compiled is not None and compiles(rows):
            compiled().sum(rows, rows.new_zeros(self._kind.components), None, None)

    @torch.no_grad()
    def expect(self, x: Any, weights: Any = None, labels: Any = None, dtype: torch.dtype | None = None) -> Statistics:
        """E-step: responsibilities of each row, summed with its T(x) block by block, so that nothing of size (n, k)
        is kept. dtype: torch.float32 computes in it, where the family can, and sums in float64. Raises ArithmeticError
        if a row has probability zero under every component."""
        rows, weights, labels = self._summed(x, weights, labels)
        return self._possible(x, sum_blocks(self.family, self.weights.log(), rows, weights, labels, dtype))

    @torch.no_grad()
    def maximize(self, statistics: Statistics, length: float = 1.0) -> None:
        """M-step: weights in proportion to their responsibilities, the family from its statistics. Of parameters of
        which some are frozen the best of the others (ECM: Meng & Rubin, Biometrika 80 (1993), 267-278)."""
        self.family.require_allows_frozen()
        with restore_frozen(self.family), threads_for(statistics.total.numel()):
            if length == 1:
                self.family.maximize(statistics.weight, statistics.total)
            else:
                self.family.maximize(statistics.weight, statistics.total, length)
        self._weigh(statistics.weight)

    @torch.no_grad()
    def remeasure(self, statistics: Statistics) -> Statistics:
        """Statistics of before the last M-step, as the family measures now."""
        return replace(statistics, total=self.family.remeasure(statistics.weight, statistics.total))

    @property
    def has_expected_log_joint(self) -> bool:
        """Whether the statistics give the gradient of the bound: where the family writes `expected_log_prob`."""
        return not self.family.lacking_expected_log_prob()

    def expected_log_joint(self, statistics: Statistics) -> Float[Tensor, ""]:
        """E[log p(x, z)] summed over the rows of these statistics, but for what no parameter changes; differentiable.
        Where the statistics were taken its gradient is that of the bound (Fisher's identity)."""
        log_weights = torch.where(statistics.weight > 0, self.weights_unconstrained.log_softmax(-1), 0.0)
        return (
            statistics.weight @ log_weights + self.family.expected_log_prob(statistics.weight, statistics.total).sum()
        )

    @property
    def generalized(self) -> bool:
        """Whether `maximize` takes a step, which may be too long, instead of going to the maximum."""
        return self.family.generalized

    # starting, checking, relabelling

    @on_the_cpu
    @torch.no_grad()
    def initialize(self, x: Any, weights: Any, generator: torch.Generator, redraw: bool = True) -> None:
        """Learn the names and units of the data; then, unless parameters are set and redraw=False, draw new ones:
        weighted k-means++ in the family's `coordinates`, responsibilities softened to 0.9 r + 0.1 / k, and its `start`.
        Frozen parameters stay; where they say where the components are, these are the centres.

        x: (n, d) as `fit` takes it. Raises ValueError for other columns, fewer rows than components or fewer distinct
        ones, and cells that the family cannot give.
        """
        rows, moments = self._looked_at(x, weights)
        k = self.family.components
        self.require_frozen_set()
        keep = [
            (part, name) for part in self.recorded() for name in part.names_set if not redraw or part.is_frozen(name)
        ]
        if self.family.is_set and not (redraw and any(p.requires_grad for p in self.family.parameters())):
            if redraw:
                self._weigh(torch.ones(k, dtype=torch.float64))
            return self.family.set_units(None, moments)
        own = [(module, name, getattr(module, name).detach().clone()) for module, name in keep]
        with hold_fixed(keep):
            locations = self.family.fixed_location()
            start = draw_start(rows, k, [generator], lambda x: self._coordinates(x, moments), self.softness, locations)
            share = start.responsibilities
            if locations is not None and redraw:  # these centres draw nothing: let the other parameters begin elsewhere
                share = share * torch.rand(share.shape, generator=generator, dtype=share.dtype)
                share = share * (start.responsibilities.sum(1) / share.sum(1)).unsqueeze(1).nan_to_num()
            self.family.set_units(start.locations, moments)
            with restore_frozen(self.family):
                self.family.start(start.x, share)
        self._weigh(start.responsibilities.sum(0))
        for module, name, value in own:  # some parameters were set: those stand, the others are drawn
            setattr(module, name, value)
        return None

    def check(self) -> None:
        """Raise `Collapse` if a component has shrunk onto a few rows, where the likelihood has no upper bound."""
        thin = self._thin()
        if thin.any():
            j = int(thin.nonzero()[0])
            raise Collapse(f"component {j} has collapsed: its covariance is all but singular", j)

    @torch.no_grad()
    def permute(self, order: Any) -> None:
        """Relabel the components in place: component j becomes the former component order[j]."""
        order = self._ordered(order)
        self.weights_unconstrained.data = self.weights_unconstrained.data[order]
        self.family.permute(order)

    def canonical_order(self) -> Int[Tensor, " k"]:
        """One labelling of the k! equal ones, for printing: by decreasing weight, then by the first profile."""
        by_first = self.family.profiles()[0].values[:, 0].argsort(stable=True)
        return by_first[self.weights.detach()[by_first].argsort(descending=True, stable=True)]

    @on_the_cpu
    def summary(
        self, columns: Iterable[str] | None = None, levels: Sequence[Sequence[str] | None] | None = None
    ) -> pd.DataFrame:
        """The components in canonical order: their weights, and for each column what the family says of it, such as
        mean and standard deviation, in its units. The index is the number of the component elsewhere: in `weights`,
        `posterior(x).probs`, labels.

        columns: their names; levels: for each column the names of its categories, or None for their codes; by default
        those of the table it was fitted to.
        """
        if self.schema is not None:
            columns = self.schema.columns if columns is None else columns
            levels = self.schema.levels if levels is None else levels
        order = self.canonical_order()
        names = [f"column {j}" for j in range(self.family.features)] if columns is None else list(columns)
        found = []
        for part in self.family.profiles():
            for i, (column, values) in enumerate(zip(part.columns, part.values[order].T, strict=True)):
                words = None if levels is None or column < 0 else levels[column]
                name = f"{part.kind} of {names[column]}" if column >= 0 else part.kind
                if part.levels is not None:
                    name = f"{part.kind}({names[column]} = {words[part.levels[i]] if words else part.levels[i]})"
                found.append((column if column >= 0 else len(names), name, values.numpy()))
        found.sort(key=lambda cell: cell[0])
        cells = np.column_stack([self.weights.detach()[order].numpy(), *(values for _, _, values in found)])
        header = ["weight", *(name for _, name, _ in found)]
        return pd.DataFrame(cells, index=pd.Index(order.tolist(), name="component"), columns=header)

    # inside

    @property
    def _kind(self) -> Family:
        """A family that knows what rows may hold, whatever its parameters."""
        return self.family

    def _thin(self) -> Bool[Tensor, " k"]:
        """Which components have run into a singularity."""
        return self.family.collapsed(self.weights.detach())

    def _logits(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        """log q(z = k | x) but for a constant of each row; log weights for an impossible row, which says nothing."""
        joint = self._log_joint(x, labels)
        return torch.where(joint.amax(-1, keepdim=True) > -torch.inf, joint, self.weights.detach().log())

    def _log_joint(self, x: Tensor, labels: Tensor | None) -> Float[Tensor, "n k"]:
        self._require_parameters()
        joint = log_density(self.family, x) + self.weights_unconstrained.log_softmax(-1)  # smooth where a weight is 0
        return joint if labels is None else joint + allowed(labels, joint.shape[-1])

    def _looked_at(self, x: Any, weights: Any) -> tuple[Rows, Moments]:
        """The rows of a fit, and their moments: checked, and their names learnt."""
        rows = as_rows(x, weights) if isinstance(x, Rows) else Rows(x, weights, missing=self.takes_missing)
        k, d = self._kind.components, self._kind.features
        if rows.features != d:
            raise ValueError(f"got {rows.features} columns, expected {d}: the model was made for {d} features")
        self.schema = rows.schema or self.schema
        self._known(rows.labels, len(rows))
        if len(rows) < k:
            raise ValueError(f"got {len(rows)} rows, expected at least one for each of {k} components")
        moments = rows.moments  # before all else: it reads all rows in order, and so can say which cell is not a number
        for chunk in rows.chunks():
            self._allow(chunk.x, rows.columns, chunk.where)
        return rows, moments

    def _table(self, x: Any) -> Float[Tensor, "n d"]:
        """x as a tensor of numbers that the family can give."""
        x = conform(x, self)
        tensor = as_tensor(x, self._kind.features, missing=self.takes_missing).to(device_of(self))
        self._allow(tensor, list(x.columns) if isinstance(x, pd.DataFrame) else None)
        return tensor

    def _allow(
        self, x: Float[Tensor, "n d"], columns: Sequence[Any] | None, numbers: Tensor | range | None = None
    ) -> None:
        """Raise ValueError if the family cannot give a cell; numbers: of the rows."""
        refused = self._kind.unsupported(x)
        if refused is not None and refused.any():
            raise ValueError(f"{first_cell(refused, x, columns, numbers)}, expected {self._kind.expects}")

    def _summed(self, x: Any, weights: Any, labels: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Checked arguments of `expect`, without rows of weight zero: they may be impossible, and must not matter."""
        self._require_parameters()
        # a cell that is not finite shows in the bound
        x = as_tensor(conform(x, self), self._kind.features, finite=False).to(device_of(self))
        weights, labels = as_weights(weights, len(x), some=False), self._known(labels, len(x))
        if weights is not None:
            weights = weights.to(x.device)
            kept = weights > 0
            x, weights, labels = x[kept], weights[kept], None if labels is None else labels[kept]
        return x, weights, labels

    def _possible(self, x: Any, statistics: Made) -> Made:
        """The same statistics. Raises ArithmeticError if a row has probability zero under every component."""
        if not torch.isfinite(statistics.bound):
            self._table(x)  # raises if there is a cell that is not finite, or impossible
            raise ArithmeticError(
                "some rows have probability zero under every component: the parameters do not fit these data; "
                "start from other parameters"
            )
        return statistics

    def _coordinates(self, x: Float[Tensor, "n d"], data: Moments) -> Float[Tensor, "n c"]:
        """Where the rows lie for the start."""
        return self.family.coordinates(x, data)

    def _weigh(self, counts: Float[Tensor, " k"]) -> None:
        """The M-step of the weights."""
        if not self.is_frozen("weights"):  # as they are inside: checks and maps to and fro are many small calls
            self.weights_unconstrained.data = transform_to(constraints.simplex).inv(self._shares(counts))
            self.names_set.add("weights")

    def _ordered(self, order: Any) -> Int[Tensor, " k"]:
        order = torch.as_tensor(order, device=device_of(self))
        if sorted(order.tolist()) != list(range(len(self.weights))):
            raise ValueError(f"got order {order.tolist()}, expected a permutation of 0 .. {len(self.weights) - 1}")
        return order

    def _known(self, labels: Any, n: int) -> Int[Tensor, " n"] | None:
        labels = as_labels(labels, n)
        k = self._kind.components
        if labels is not None and not ((labels >= -1) & (labels < k)).all():
            bad = int(((labels < -1) | (labels >= k)).nonzero()[0])
            raise ValueError(
                f"label {bad} is {int(labels[bad])}, expected 0 .. {k - 1} for a component or -1 for unknown"
            )
        return None if labels is None else labels.to(device_of(self))

    def _require_parameters(self) -> None:
        if not self.family.is_set:
            raise ValueError(
                "the parameters of this mixture are not set: fit it, seed(model, x) it, or assign weights and the "
                "family's parameters"
            )

    def _intake(self, x: Any, weights: Any, labels: Any, rows: float | None) -> tuple:
        """Checked arguments of the pair, and the scale of each row's terms. Rows of weight zero are left out."""
        self._require_parameters()
        x = self._table(x)
        weights, labels = as_weights(weights, len(x)), self._known(labels, len(x))
        factor = 1.0 if rows is None else rows / len(x)
        if weights is None:
            return x, weights, labels, factor
        weights = weights.to(x.device)
        kept = weights > 0
        x, weights = x[kept], weights[kept]
        return x, weights, None if labels is None else labels[kept], weights * factor
