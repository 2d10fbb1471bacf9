"""Measures Vagus on the machine it runs on: `python -m benchmarks`, or `make bench`."""
