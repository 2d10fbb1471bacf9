"""Policies, for people."""

import msgspec
from rich.text import Text

from vagus.cli.render.console import console
from vagus.cli.render.text import clean
from vagus.cli.trial import Trial
from vagus.contract.policy import PolicyInForce


def shown(found: PolicyInForce) -> None:
    """A policy as JSON that `policy set` takes."""
    out = console()
    out.print(Text(f"# version {found.version}", style="dim"))
    out.print(Text(msgspec.json.format(msgspec.json.encode(found.policy), indent=2).decode()))


def tried(trial: Trial) -> None:
    """What would be decided."""
    out = console()
    for word, style, capabilities in (
        ("allow", "green", trial.allowed),
        ("ask", "yellow", trial.requires_approval),
        ("deny", "red", trial.denied),
    ):
        for capability in capabilities:
            out.print(Text.assemble((f"{word:6}", style), clean(capability)))
    out.print(Text(f"the call: {str(trial.decision).replace('_', ' ')}", style="bold"))
