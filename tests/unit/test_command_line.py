import json
from pathlib import Path

import msgspec
import pytest

from tests.kit.command_line import vagus
from vagus.cli.up import _provider
from vagus.contract.policy import PRESETS

NOWHERE = "nats://127.0.0.1:9"


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["tick", "s1"],
        ["tick", "s1", "x", "--limit", "1"],
        ["tick", "s1", "x", "--tool", "t", "--input", "[1]"],
        ["tick", "s1", "x", "--tool", "t", "--input", "{"],
        ["session", "frobnicate"],
        ["session", "budget", "s1", "--tokens", "-1"],
        ["events", "s1", "--from", "0"],
        ["dead", "retry"],
        ["dead", "show", "x"],
        ["up", "--durability", "maybe"],
        ["run", "s1", "x", "--max-ticks", "0"],
    ],
)
def test_wrong_usage_exits_2_with_one_line(arguments: list[str]) -> None:
    plain = vagus(*arguments)
    assert plain.code == 2
    assert plain.out == ""
    assert plain.err.startswith("error: ")
    assert plain.err.count("\n") == 1
    ran = vagus(*arguments, "--json")
    assert ran.code == 2
    assert ran.error["type"] == "UsageError"


def test_help_is_there_for_every_verb() -> None:
    said = vagus("--help")
    assert said.code == 0
    for verb in ("up", "demo", "session", "tick", "run", "events", "branch", "approvals", "policy", "tools"):
        assert verb in said.out
        helped = vagus(verb, "--help")
        assert helped.code == 0
        assert "Usage: vagus " + verb in helped.out


@pytest.mark.parametrize("verb", [["tools"], ["session", "list"], ["dead", "list"], ["verify", "s1"]])
def test_every_verb_takes_server_and_json(verb: list[str]) -> None:
    helped = vagus(*verb, "--help")
    assert "--server" in helped.out
    assert "--json" in helped.out


def test_the_version_is_told() -> None:
    assert vagus("--version").out.startswith("vagus 0.")


def test_without_a_server_it_says_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.cli.asking.CONNECT_S", 0.2)
    plain = vagus("tools", "--server", NOWHERE)
    assert plain.code == 1
    assert plain.err.startswith(f"error: no NATS server at {NOWHERE}: start one with `vagus up`")
    assert vagus("tools", "--server", NOWHERE, "--json").error["type"] == "Unavailable"


def test_a_policy_is_tried_without_a_server(tmp_path: Path) -> None:
    ran = vagus("policy", "test", "default", "exec:cmd:git", "payments:initiate", "a:b", "--json")
    assert ran.code == 0
    assert ran.json == {
        "decision": "deny",
        "allowed": ["exec:cmd:git"],
        "requires_approval": ["payments:initiate"],
        "denied": ["a:b"],
    }
    file = tmp_path / "policy.json"
    file.write_bytes(msgspec.json.encode(PRESETS["pro"]))
    assert "the call: allow" in vagus("policy", "test", str(file), "a:b").out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no policy"),
        ("{}", "not a PolicySet"),
        ("nonsense", "not a PolicySet"),
        ("[]", "not a PolicySet"),
    ],
)
def test_a_policy_that_is_none_says_so(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "policy.json"
    if content is not None:
        file.write_text(content)
    ran = vagus("policy", "test", str(file), "a:b", "--json")
    assert ran.code == 1
    assert said in ran.error["message"]


def test_the_file_of_a_scripted_provider_is_named_from_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _provider("scripted:a.json") == f"scripted:{tmp_path / 'a.json'}"
    assert _provider("baseline") == "baseline"


def test_the_demos_script_is_part_of_the_package() -> None:
    from importlib.resources import files

    script = json.loads((files("vagus.cli.play") / "script.json").read_text())
    assert set(script) == {"demo/main", "demo/limerick"}
