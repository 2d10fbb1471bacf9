import sys
from pathlib import Path
from typing import Any

import pytest

from vagus.contract.errors import SettingsError
from vagus.tools import Tool, tool
from vagus_toolrunner import catalog
from vagus_toolrunner.builtin import workspace_tools
from vagus_toolrunner.catalog import Catalog
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.settings import RunnerSettings

MODULE = """
import msgspec
import vagus

class Point(msgspec.Struct):
    x: "int"

@vagus.tool
async def shift(point: "Point") -> "Point":
    return Point(point.x + 1)

other_name = shift
"""


def made(name: str, pool: str = "default") -> Tool[Any, Any]:
    @tool(name=name, pool=pool)
    def nothing() -> None: ...

    return nothing


def names(found: Catalog) -> list[str]:
    return [each.definition.name for each in found]


def test_a_catalog_finds_tools_by_name() -> None:
    one, two = made("a"), made("b.c")
    found = Catalog([one, two, one])
    assert names(found) == ["a", "b.c"]
    assert found.get("b.c") is two
    assert found.get("nothing") is None


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="two tools are named a"):
        Catalog([made("a"), made("a")])


def test_pools_are_those_of_the_tools_or_those_that_are_named() -> None:
    tools = [made("a"), made("b", "gpu"), made("c", "gpu")]
    assert Catalog(tools).pools == ("default", "gpu")
    only = Catalog(tools, ["gpu"])
    assert (only.pools, names(only)) == (("gpu",), ["b", "c"])
    with pytest.raises(SettingsError, match="VAGUS_POOLS=nobody: no tool"):
        Catalog(tools, ["gpu", "nobody"])


def test_a_module_is_loaded_from_a_file_or_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_tools.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_tools", raising=False)
    assert names(Catalog(catalog.named([str(tmp_path / "my_tools.py")]))) == ["shift"]
    assert names(Catalog(catalog.named(["my_tools"]))) == ["shift"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1", "holds no tools"),
        ("raise ValueError('broken')", "ValueError: broken"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("def f(:", "SyntaxError"),
        ("import vagus\n@vagus.tool\ndef f(x): ...", "no annotation"),
    ],
)
def test_a_module_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(SettingsError, match=problem) as refused:
        list(catalog.named([str(file)]))
    assert str(file) in refused.value.message


def test_a_module_that_is_not_there_is_named() -> None:
    for name in ("no.such.module", "/no/such/file.py"):
        with pytest.raises(SettingsError, match=r"VAGUS_TOOLS=.*: cannot load it"):
            list(catalog.named([name]))


def test_the_tools_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, value = "mine", "my.tools"

        def __init__(self, found: object) -> None:
            self.found = found

        def load(self) -> object:
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

    one = made("a")
    module = type(sys)("my.tools")
    module.__dict__["b"] = made("b")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [Entry(one), Entry(module)])
    assert names(Catalog(catalog.installed())) == ["a", "b"]
    for broken in (ImportError("gone"), 1):
        monkeypatch.setattr(catalog, "entry_points", lambda group, broken=broken: [Entry(broken)])
        with pytest.raises(SettingsError, match=r"my\.tools"):
            list(catalog.installed())


def test_a_runner_without_the_workspaces_offers_none_of_their_tools() -> None:
    with_them = RunnerSettings(grant_public_keys=("k",))
    assert {each.definition.name for each in workspace_tools(with_them, Reaper())} == {
        "fs.read",
        "fs.write",
        "shell.exec",
    }
    without = RunnerSettings(grant_public_keys=("k",), workspace_tools=False)
    assert workspace_tools(without, Reaper()) == ()


def test_what_the_built_in_tools_say_of_themselves() -> None:
    tools = {
        each.definition.name: each
        for each in workspace_tools(RunnerSettings(grant_public_keys=("k",)), Reaper())
    }
    read, write, shell = (tools[name].definition for name in ("fs.read", "fs.write", "shell.exec"))
    assert (read.capabilities, write.capabilities) == (("fs:read:{path}",), ("fs:write:{path}",))
    assert shell.capabilities == ("exec:cmd:{command}",)
    assert read.annotations.read_only
    assert write.annotations.idempotent
    assert not write.annotations.read_only
    assert not shell.annotations.repeatable
    assert tools["fs.write"].mutates == ("path",)
    assert shell.input_schema["required"] == ["command"]
