"""Fitting: `fit`, its result `Fit`, restarts, checkpoints, saved files and progress bars.

`fit` is one loop for every model and every engine (`fit.py`). A restart is one run of the engine from one start
(`one_restart.py`); `restarts.py` makes them all, in turn or many in one tensor (`batched_restarts.py`).
A checkpoint (`checkpoint.py`, `checkpoint_state.py`, `checkpoint_identity.py`) and a saved fit (`save_and_load.py`,
`describe_calls.py`, `rebuild.py`) are files of one format (`file_format.py`). `distributed_rows.py` divides the rows
among several processes.

New code here must work for every model and engine by their contracts, and read the saved files and checkpoints of
earlier versions.

May import: `lowerbound.inference.engines`, `lowerbound.models` and `lowerbound.data`.
"""
