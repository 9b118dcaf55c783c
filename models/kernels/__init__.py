"""Passes over the rows of a table and the mathematics they share: the fast inner loops of the E-step and M-step.

What lives here: `compiled/` (numba kernels), the passes that call them (`linear_pass`, `joint_codes`), the torch pass
of Gaussians (`gaussian_pass`), Gaussians with missing values (`gaussian_conditional`), the three shapes of a covariance
(`covariance_shapes`), how threads share the rows (`parallel_rows`), and special functions. A family hands its pass to
the E-step as a `visit.Visit`.

A new pass offers the methods of `visit.CompiledPass`, comes with a test against a slow version in `tests/reference.py`,
and gives the same sums to the bit for any number of threads. Modules here import `lowerbound.data`, `models.contract`
and each other; they know no family and no model.
"""
