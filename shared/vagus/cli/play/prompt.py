"""A question at the terminal that does not block the event loop and that Ctrl-C ends."""

import sys

import anyio


async def allowed_at_terminal() -> bool:
    """Ask; Enter and yes allow."""
    while True:
        print("  Allow it? [Y/n] ", end="", flush=True)  # noqa: T201 -- this is the question
        await anyio.wait_readable(sys.stdin)
        answer = sys.stdin.readline()
        if not answer:
            return False  # the terminal is gone: nobody has allowed anything
        match answer.strip().lower():
            case "" | "y" | "yes":
                return True
            case "n" | "no":
                return False
            case _:
                print("  Please say y or n.")  # noqa: T201
