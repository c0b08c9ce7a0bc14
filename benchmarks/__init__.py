"""Benchmarks: `python -m benchmarks.core` (screening alone) and `python -m benchmarks.proxy` (against nginx).

Each prints a table and writes JSON beside itself when asked to (`--out FILE`). Load goes to loopback only, bounded in count
and time; every process is ended by the id it was started with.
"""
