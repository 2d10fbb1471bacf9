"""`vagus keys`: the key pairs of a deployment, made once."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vagus.cli.options import AsJson
from vagus.cli.output import print_line, show

Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Where they are kept; made if it is not there.", show_default=False),
]


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The public halves."""

    folder: str
    users: dict[str, str]
    """By kind of process."""
    grant: str


def keys(folder: Folder, as_json: AsJson = False) -> None:
    """Make an nkey for every user of NATS and the key that signs grants; those that are there are kept.

    DIR then holds `<user>.nk` and `grant.seed`, which are secret, and `public.env` with the public halves, as
    the server (`VAGUS_NKEY_<USER>`) and the tool runners (`VAGUS_GRANT_PUBLIC_KEYS`) want them.
    """
    from vagus.contract.permissions import User
    from vagus.runtime import grants

    def made(path: Path, *, login: bool) -> str:
        return grants.public_key(path) if path.exists() else grants.generate_key(path, login=login)

    found = Keys(
        folder=str(folder),
        users={user.value: made(folder / f"{user}.nk", login=True) for user in User},
        grant=made(folder / "grant.seed", login=False),
    )
    lines = [f"{variable(user)}={found.users[user]}" for user in User]
    (folder / "public.env").write_text("\n".join([*lines, f"VAGUS_GRANT_PUBLIC_KEYS={found.grant}", ""]))
    show(found, as_json=as_json, render=_told)


def variable(user: str) -> str:
    """Where the server finds a user's public key in its environment."""
    return f"VAGUS_NKEY_{user.upper()}"


def _told(found: Keys) -> None:
    print_line(f"{len(found.users)} users and the key that signs grants are in {found.folder}".encode())
