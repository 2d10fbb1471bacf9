"""The protocol of ownership, delivery and commit, explored: every schedule of a small world with few faults.

The real core and the real driver run against a log, a queue, buckets, a gate and a runner that are simulated,
in a time that is simulated too (`tests/kit/world.py`). A *schedule* says at which step which fault happens;
between faults everything runs in one fixed order, so that a schedule is all one needs to see a run again.
"""
