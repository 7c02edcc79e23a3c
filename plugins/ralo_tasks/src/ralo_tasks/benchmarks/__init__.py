"""The built-in benchmarks: what they ask, where it is from, and how it is asked and graded.

Each satisfies `ralo_core.protocols.Benchmark`; `plugin` registers them.
"""
