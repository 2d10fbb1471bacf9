"""`vagus permissions`: who may say what, as a nats-server reads it."""

import os

import msgspec

from vagus.cli.keys import variable
from vagus.cli.options import AsJson
from vagus.cli.output import print_line, show
from vagus.contract.permissions import Permissions, User, permissions
from vagus.contract.subjects import Subjects


def configuration(found: dict[User, Permissions]) -> str:
    """The users of an account in nats-server's configuration; their public keys come from its environment."""
    lines = ["# Who may say what. Made by `vagus permissions`: change vagus/contract/permissions.py instead."]
    lines.append("users = [")
    for user, granted in found.items():
        lines += ["  {", f"    # {user}", f"    nkey: ${variable(user)}", "    permissions: {"]
        for verb in ("publish", "subscribe"):
            lines += [
                f"      {verb}: [",
                *(f'        "{subject}"' for subject in getattr(granted, verb)),
                "      ]",
            ]
        lines += ["    }", "  }"]
    return "\n".join([*lines, "]", ""])


def print_permissions(as_json: AsJson = False) -> None:
    """Print the users of NATS with what each may publish and subscribe to, for nats-server to include.

    The root subject is `VAGUS_ROOT_SUBJECT`. With `--json`: publish and subscribe by user.
    """
    found = permissions(Subjects(root=os.environ.get("VAGUS_ROOT_SUBJECT", "vagus")))
    show(
        msgspec.to_builtins(found),
        as_json=as_json,
        render=lambda _: print_line(configuration(found).rstrip().encode()),
    )
