"""Inference engines: EM, SQUAREM, online EM, SVI and NUTS, and what several of them share.

An engine raises the lower bound of a model on the rows of a table, one pass at a time, and says when to stop. `fit`
does the rest: restarts, the history, checkpoints. A new engine is a frozen dataclass of its settings with the two
methods of `contract.Engine`; it has its own file, and long steps have a second file.

Also here, because every engine needs it: the bound of a whole table (`data_bound`), the rules of convergence
(`convergence`), and the calls by which several processes share one fit (`processes`, `collectives`).

May import: `lowerbound.models` and `lowerbound.data`. Never `fit`, a report or the command line.
"""
