"""`vagus schema`: what stands on the wire, for programs that are not ours."""

import sys
from typing import Annotated

import typer

from vagus.cli.options import AsJson
from vagus.cli.output import print_json, print_line, show


def schema(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Of a message, an event or a reply.", show_default=False),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Only the names; so it is without a name, too.")
    ] = False,
    asyncapi: Annotated[
        bool,
        typer.Option("--asyncapi", help="The AsyncAPI 3 document: subjects, streams, messages, headers."),
    ] = False,
    root_subject: Annotated[
        str,
        typer.Option(
            "--root-subject", envvar="VAGUS_ROOT_SUBJECT", metavar="ROOT", help="In the AsyncAPI document."
        ),
    ] = "vagus",
    as_json: AsJson = False,
) -> None:
    """JSON Schemas (2020-12) of messages and events, and the AsyncAPI document. Asks no server."""
    import msgspec

    from vagus.cli.render import schemas as render
    from vagus.contract import schemas
    from vagus.contract.asyncapi import document
    from vagus.contract.subjects import Subjects

    if sum((name is not None, listed, asyncapi)) > 1:
        raise typer.BadParameter("one of NAME, --list and --asyncapi")
    if asyncapi:
        made = document(Subjects(root=root_subject))
        if as_json:
            print_json(made)
        else:
            sys.stdout.write(render.yaml(made))
    elif name is None:
        show(schemas.entries(), as_json=as_json, render=render.listed)
    elif as_json:
        print_json(schemas.schema(name))
    else:
        print_line(msgspec.json.format(msgspec.json.encode(schemas.schema(name))))
