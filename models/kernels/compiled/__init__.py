"""Kernels that numba compiles: one pass over the rows of a table, a block of rows at a time.

A block stays in the cache of its processor from the first product to the last sum. Arrays are feature-major, (what,
rows of the block), so that every inner loop runs along memory and is vectorized; matrix products go by tiles that fit
the registers. Kernels release Python's lock, so that threads can share the rows. They check nothing: the passes that
call them do. The three passes are `linear_e_step`, `categorical_e_step` and `kmeans_step`; tests/reference.py has each
of them in ten slow lines. `gaussian_parameters` has the steps between two passes; torch's are their slow version.

A new kernel is decorated by `compile_kernel.fast`, comes with a test against a slow version, and imports only this
folder and constants. Import these modules where they are called: they load numba, which is slow.
`block_sizes.py` loads nothing.
"""
