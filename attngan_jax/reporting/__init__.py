"""The report of a run: figures from arrays, one self-contained page from a workdir's files.

Nothing here imports JAX: a report is written from files alone, on any machine.
"""
