"""Checks of classes that extend the package: does a new family keep the contract that engines rely on?

`check_family` runs them on an object and some rows, and says in one sentence what does not hold. Each other file checks
one part of the contract. A new ability of families needs its check here. Imports: everything in `models`.
"""
