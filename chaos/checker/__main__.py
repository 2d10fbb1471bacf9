"""`python -m chaos.checker --help`."""

import argparse
import re
import sys
from pathlib import Path

import anyio
import msgspec

from chaos.checker.check import Options, check
from chaos.checker.log import CannotCheck, Login, server
from chaos.checker.report import PROVEN, Report, lines

CLEAN, VIOLATED, UNCHECKED = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Check, print, and return the exit code."""
    given = _parser().parse_args(arguments)
    options = Options(
        root=given.root,
        accepted=given.accepted,
        ledger=given.ledger,
        drain_s=given.drain,
        expected_dead=tuple(given.expect_dead),
        unfinished=given.unfinished,
    )
    try:
        login = Login(given.credentials, given.nkey, given.tls_ca, given.inbox_prefix)
        report = anyio.run(_check, given.server, login, options)
    except CannotCheck as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return UNCHECKED
    if given.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(lines(report)))
    return CLEAN if report.ok else VIOLATED


async def _check(url: str, login: Login, options: Options) -> Report:
    async with server(url, login) as source:
        return await check(source, options)


def _parser() -> argparse.ArgumentParser:
    proven = "\n".join(f"  {rule.value:<9} {text}" for rule, text in PROVEN.items())
    parser = argparse.ArgumentParser(
        prog="python -m chaos.checker",
        description="Check what a Vagus has left on its streams. Shares no code with it.",
        epilog=f"proven is that\n{proven}\n\nexit code: 0 it is so, 1 it is not, 2 it could not be checked",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--server", required=True, metavar="URL", help="of the nats-server")
    parser.add_argument("--credentials", metavar="FILE", help="to log in with: a .creds file")
    parser.add_argument("--nkey", metavar="FILE", help="to log in with: the seed of an nkey")
    parser.add_argument("--tls-ca", metavar="FILE", help="whose certificates are trusted, in PEM form")
    parser.add_argument("--inbox-prefix", default="_INBOX", help="of the subjects that replies come on")
    parser.add_argument("--root", default="vagus", help="root token of subjects and streams")
    parser.add_argument(
        "--accepted",
        type=Path,
        metavar="FILE",
        help="NDJSON of clients: {session_id, branch_id, command_id, reply?}, a line or more for "
        "every tick whose storing was acknowledged; reply as it came: {ok} or {error}",
    )
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="NDJSON of tools: {tool_run_id, tool, at, phase, idempotent, grant, session_id?}, see "
        "chaos/tools.py",
    )
    parser.add_argument(
        "--drain", type=float, default=60.0, metavar="SECONDS", help="wait for empty queues, and for relays"
    )
    parser.add_argument(
        "--expect-dead",
        action="append",
        default=[],
        type=_expression,
        metavar="REGEX",
        help="dead letters whose reason matches are no violations; repeat for more",
    )
    parser.add_argument(
        "--unfinished", action="store_true", help="it is at work: what has not ended yet is no violation"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    return parser


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from error
    return text


if __name__ == "__main__":
    sys.exit(main())
