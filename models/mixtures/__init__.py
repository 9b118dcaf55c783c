"""Mixtures: p(x) = sum_k weights[k] p(x | z = k), with a discrete latent variable z for each row.

What lives here: `Mixture`, the mixture of any family (`mixture.py`). It inherits its other methods, by topic, from
`mixture_em.py` (start, E-step, M-step), `fill_missing.py` (missing values) and `row_checks.py` (checks of rows, weights
and labels). `KMeans` (`kmeans.py`) is its limit with hard assignments. `constructors.py` has the short constructors,
such as `GaussianMixture`; `mixed.py` chooses families by column. The computations are separate functions: `e_step.py`
(sums over rows), `starts.py` (k-means++), and `mixture_batch.py` (restarts side by side in one tensor).

What a new thing here must offer: a mixture of another distribution is a new `Family` in `families`. It needs no code
here; a common one gets a short constructor. A mixture that is fitted in another way derives from `Mixture` and
overrides `expect`, `maximize` and `objective`, as `KMeans` does.

May import: `families`, `kernels`, `contract`, `module` and what is below them. Nothing of `bayesian` or `inference`.
"""
