"""Checks what a Vagus has left behind on its streams, sharing no code with it.

`python -m chaos.checker --help`. It reads with plain nats-py and believes nothing that it has not computed:
names, digests, numbers and rules are written down here once more, from docs/wire.md alone, so that a mistake
in the code under test is not made here as well.
"""
