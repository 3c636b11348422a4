"""Mutants of the checker: each small change of its code has to be noticed by a case.

`python -m tests.soundness.mutation [MODULE ...] [--list-survivors]` counts them. `operators` says
what is changed, `mutants` where; `cases_*` hold the questions, `sandbox` puts them to one mutant in
a forked process, and `equivalent` lists the mutants that no question can tell from the checker.
What operations and graphs are compared with, theory page B6 in NumPy, is in `kind_numbers` and
`graph_numbers`.
"""
