"""Benchmarks: ratios against a peer that is measured in the same run. `make bench` or `python -m benchmarks`."""
