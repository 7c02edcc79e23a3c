"""A run of real processes that are killed, cut off and sent things twice, and the audit of it.

`orchestrator`, `workers` and `proxy` are what takes part, `harness` lets them work while `faults`
injures them, `audit` and `replay` then hold the run directory against what everybody wrote down.
``python -m chaos`` is the long form; `test_chaos` the short one.
"""
