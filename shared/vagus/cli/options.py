"""Options that many verbs have."""

from typing import Annotated

import typer

Server = Annotated[
    str,
    typer.Option(
        "--server", envvar="VAGUS_SERVER", metavar="URL", help="NATS server; several: comma-separated."
    ),
]
OwnServer = Annotated[
    str,
    typer.Option(
        "--server", metavar="URL", help="Use this NATS server instead of starting one.", show_default=False
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")
]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.", show_default=False)]
Branch = Annotated[str, typer.Option("--branch", "-b", metavar="BRANCH", help="Branch of the session.")]
Actor = Annotated[
    str,
    typer.Option("--actor", envvar="VAGUS_ACTOR", metavar="NAME", help="Who acts, as the log names them."),
]

SERVER = "nats://127.0.0.1:4222"
"""Where `vagus up` listens."""
