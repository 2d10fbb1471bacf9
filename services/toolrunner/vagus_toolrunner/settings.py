"""What a tool runner is told from outside."""

from typing import Annotated

from vagus.contract.ids import Id
from vagus.runtime.settings import ProcessSettings, doc


class RunnerSettings(ProcessSettings, frozen=True, kw_only=True):
    """Settings of a tool runner."""

    grant_public_keys: Annotated[
        tuple[str, ...], doc("public keys of the policy gates whose grants are accepted")
    ]
    tools: Annotated[
        tuple[str, ...], doc("modules whose tools are offered: dotted names, or paths of .py files")
    ] = ()
    pools: Annotated[
        tuple[Id, ...],
        doc("pools to serve, with the tools that belong to them; empty: those of all its tools"),
    ] = ()
    slots: Annotated[int, doc("calls that run at a time, in each pool", ge=1, le=1024)] = 8
    workspace_tools: Annotated[
        bool, doc("offer fs.read, fs.write and shell.exec; needs the folder of the sessions' workspaces")
    ] = True
    allowed_commands: Annotated[
        tuple[str, ...],
        doc("commands that shell.exec may run, if policy allows them too; * for all, empty for none"),
    ] = (
        "echo",
        "git",
        "cargo",
        "cat",
        "ls",
        "grep",
        "jq",
        "python3",
        "find",
        "head",
        "tail",
        "sort",
        "wc",
    )  # those that the shipped policies and the original name
    command_path: Annotated[
        str, doc("PATH of shell.exec's commands; nothing else of the environment is given")
    ] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
