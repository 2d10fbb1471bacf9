"""The verbs in one place, and what becomes of errors: one line, and an exit code that says whose fault."""

import sys
from typing import Annotated, Final, Protocol, runtime_checkable

import typer

from vagus.cli import (
    approvals,
    backup,
    branch,
    dead,
    demo,
    doctor,
    drain,
    events,
    feed,
    keys,
    permissions,
    policy,
    provision,
    schedule,
    schema,
    session,
    sink,
    status,
    subscriptions,
    tick,
    tools,
    up,
    verify,
)
from vagus.cli.output import complain
from vagus.contract.errors import Refused, VagusError

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
INTERRUPTED: Final = 130
"""As a shell names the end by Ctrl-C."""

app = typer.Typer(
    name="vagus",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Vagus runs agents: every step on a durable log, tools on worker machines, a policy that no model "
        "talks its way round, and people asked before risky calls.\n\n"
        "Start with `vagus demo`, or run `vagus up` and, in another terminal:\n\n"
        "    vagus session create s1\n"
        '    vagus run s1 "say hello"\n'
        "    vagus events s1 --follow\n\n"
        "Every verb takes `--server URL` and `--json`. Exit codes: 0 done, 1 failed, 2 wrong usage, "
        "3 refused by policy, state or budget."
    ),
)
app.command("up")(up.up)
app.command("demo")(demo.demo)
app.add_typer(session.app, name="session")
app.command("tick")(tick.tick)
app.command("run")(tick.run)
app.add_typer(schedule.app, name="schedule")
app.command("events")(events.events)
app.command("feed")(feed.feed)
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(branch.app, name="branch")
app.add_typer(approvals.app, name="approvals")
app.add_typer(policy.app, name="policy")
app.add_typer(dead.app, name="dead")
app.add_typer(sink.app, name="sink")
app.command("tools")(tools.tools)
app.command("schema")(schema.schema)
app.command("verify")(verify.verify)
app.command("doctor")(doctor.doctor)
app.command("status")(status.status)
app.command("drain")(drain.drain)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("provision")(provision.provision)
app.command("keys")(keys.keys)
app.command("permissions")(permissions.print_permissions)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"vagus {version('vagus')}")  # noqa: T201 -- what was asked for
        raise typer.Exit(DONE)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, help="Print the version and end.", is_eager=True),
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


@runtime_checkable
class _UsageError(Protocol):
    """What the CLI library raises for wrong arguments, under a name that depends on its version."""

    def format_message(self) -> str: ...


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        code = app(prog_name="vagus", standalone_mode=False)
    except VagusError as error:
        complain(error.type, error.message)
        code = REFUSED if isinstance(error, Refused) else FAILED
    except (KeyboardInterrupt, EOFError):
        code = INTERRUPTED
    except Exception as error:
        code = _usage(error)
    sys.exit(code if isinstance(code, int) else DONE)


def _usage(error: Exception) -> int:
    """Tell of wrong arguments; what is nothing of that kind is a bug and is raised again."""
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    if not isinstance(error, _UsageError):
        raise error
    message = error.format_message().rstrip(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message)  # noqa: T201 -- the help itself
        return USAGE
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    complain("UsageError", f"{message}{hint}")
    return USAGE
