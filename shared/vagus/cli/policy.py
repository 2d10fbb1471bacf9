"""`vagus policy`: what a session may do."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, Actor, AsJson, Server, SessionId
from vagus.cli.output import show
from vagus.cli.policies import read_policy

if TYPE_CHECKING:
    from vagus.contract.policy import PolicyInForce, PolicySet
    from vagus.sdk.client import Client

app = typer.Typer(no_args_is_help=True, help="Show, replace and try policies.")


@app.command("set")
def set_(
    session: SessionId,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="`default`, `anonymous`, `free`, `pro`, `enterprise`, a JSON file, or `-` for stdin.",
            show_default=False,
        ),
    ],
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Replace a session's policy; calls from now on are held to it."""
    from vagus.cli.render import policies as render
    from vagus.contract.policy import PolicyInForce

    rules = read_policy(policy)

    async def work(client: "Client") -> PolicyInForce:
        version = await (await client.session(session)).set_policy(rules)
        return PolicyInForce(version=version, policy=rules)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.shown)


@app.command("show")
def show_(session: SessionId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """The policy in force, as JSON that `policy set` takes."""
    from vagus.cli.render import policies as render

    show(_in_force(server, session), as_json=as_json, render=render.shown)


@app.command("test")
def try_(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="SESSION|POLICY",
            help="Id of a session, a shipped policy's name, or a JSON file (its name has a dot or slash).",
            show_default=False,
        ),
    ],
    capability: Annotated[
        list[str],
        typer.Argument(metavar="CAPABILITY...", help="Such as fs:write:/session/a.txt.", show_default=False),
    ],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Say what a policy would decide of a call that needs these capabilities. Nothing is run or recorded."""
    from vagus.cli.render import policies as render
    from vagus.cli.trial import try_policy

    show(try_policy(_rules(server, policy), capability), as_json=as_json, render=render.tried)


def _rules(server: str, source: str) -> "PolicySet":
    from vagus.contract.policy import PRESETS

    if source in PRESETS or source == "-" or {".", "/"} & set(source):
        return read_policy(source)
    return _in_force(server, source).policy


def _in_force(server: str, session: str) -> "PolicyInForce":
    async def work(client: "Client") -> "PolicyInForce":
        return await (await client.session(session)).policy()

    return ask(server, work)
