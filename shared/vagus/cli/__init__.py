"""The command line. `main` is what the `vagus` script calls."""

from vagus.cli.app import main

__all__ = ["main"]
