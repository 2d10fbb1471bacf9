"""Measures how far one machine goes: `python -m benchmarks.scale`, or `make bench-scale`."""
