"""What a call needs: declared and derived capabilities, and paths that want to get out."""

import pytest

from vagus.contract.policy import PRESETS, matches
from vagus_policygate.capabilities import (
    MAX_CAPABILITIES,
    Needs,
    Template,
    TooMany,
    covers_some,
    workspace_path,
)
from vagus_policygate.capabilities import needs as needs_of


def needs(declared: tuple[str, ...], templates: tuple[str, ...], arguments: object) -> Needs:
    return needs_of(declared, [Template(text) for text in templates], arguments)


def derived(template: str, arguments: object) -> tuple[str, ...]:
    return needs((), (template,), arguments).capabilities


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("a.txt", "/session/a.txt"),
        ("/a.txt", "/session/a.txt"),
        ("//a//b/", "/session/a/b"),
        ("./a/./b", "/session/a/b"),
        ("", "/session/"),
        (".", "/session/"),
        ("/", "/session/"),
        ("/session/a", "/session/session/a"),
        ("...", "/session/..."),
        ("a..b", "/session/a..b"),
        ("a\\..\\b", "/session/a\\..\\b"),
        ("ärger/日本", "/session/ärger/日本"),
        ("%2e%2e/etc", "/session/%2e%2e/etc"),
    ],
)
def test_a_path_is_named_from_the_root_of_the_workspace(path: str, named: str) -> None:
    assert workspace_path(path) == named
    assert matches("fs:read:/session/**", f"fs:read:{named}")


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../etc/passwd",
        "/../etc/passwd",
        "a/../../etc",
        "a/../b",
        "a/..",
        "./../x",
        "//..//x",
        "artifacts/../../../root",
        "a\0b",
        "a/\0/../b",
        "\0",
    ],
)
def test_no_pattern_ever_matches_a_path_that_may_lead_out(path: str) -> None:
    (capability,) = derived("fs:write:{path}", {"path": path})
    assert capability.startswith("fs:write:/session/")
    for pattern in ("*", "**", "fs:*", "fs:write:**", "fs:write:/session/**", "fs:write:/session/a/**"):
        assert not matches(pattern, capability)
    assert not any(matches(p, capability) for policy in PRESETS.values() for p in policy.allow_capabilities)


def test_every_field_of_an_fs_template_is_a_path() -> None:
    assert derived("fs:write:{to}", {"to": "//x/./y"}) == ("fs:write:/session/x/y",)


def test_other_fields_are_put_in_as_they_are() -> None:
    assert derived("exec:cmd:{command}", {"command": "./git "}) == ("exec:cmd:./git ",)
    assert derived("db:{table}:{row}", {"table": "t", "row": 7}) == ("db:t:7",)
    assert derived("flag:{on}", {"on": True}) == ("flag:true",)


def test_a_value_cannot_bring_in_another_field() -> None:
    assert derived("db:{a}:{b}", {"a": "{b}", "b": "secret"}) == ("db:{b}:secret",)


def test_a_list_gives_one_capability_an_item() -> None:
    assert derived("fs:read:{paths}", {"paths": ["a", "/b/", "../c"]}) == (
        "fs:read:/session/a",
        "fs:read:/session/b",
        "fs:read:/session/../c",
    )
    assert derived("fs:read:{paths}", {"paths": []}) == ()


@pytest.mark.parametrize("arguments", [{}, {"path": None}, {"path": {"a": 1}}, {"path": 3}, [], None, "x"])
def test_what_the_input_does_not_say_stands_for_anything(arguments: object) -> None:
    found = needs((), ("fs:read:{path}",), arguments)
    assert found.capabilities == ("fs:read:/session/**",)
    assert found.wide == {"fs:read:/session/**"}
    assert derived("exec:cmd:{command}", {"command": [["ls"]]}) == ("exec:cmd:*",)


def test_a_template_without_fields_is_a_capability() -> None:
    assert derived("payments:initiate", {}) == ("payments:initiate",)


def test_declared_capabilities_come_first_and_nothing_comes_twice() -> None:
    found = needs(("b", "a", "b"), ("a", "c"), {})
    assert found.capabilities == ("b", "a", "c")


def test_a_declared_wide_capability_does_not_hide_a_derived_one() -> None:
    assert needs(("exec:cmd:*",), ("exec:cmd:{command}",), {}).wide == {"exec:cmd:*"}
    assert needs(("exec:cmd:*",), (), {}).wide == frozenset()


@pytest.mark.parametrize(
    ("declared", "read"),
    [
        ("fs:read:/session//a", "fs:read:/session/a"),
        ("fs:read:/session/./a/", "fs:read:/session/a/"),
        ("fs:read:/session/**", "fs:read:/session/**"),
        ("fs:read:/session/.hidden", "fs:read:/session/.hidden"),
        ("fs:read:/session//../x", "fs:read:/session//../x"),
        ("fs:read://session//a:/b", "fs:read:/session/a:/b"),
        ("net:egress:https://x//y", "net:egress:https://x//y"),
        ("fs:write:**", "fs:write:**"),
        ("", ""),
    ],
)
def test_a_declared_path_is_normalised_too(declared: str, read: str) -> None:
    assert needs((declared,), (), {}).capabilities == (read,)


def test_a_call_that_needs_too_much_is_refused_before_it_costs_anything() -> None:
    needs(("a",) * MAX_CAPABILITIES, (), {})
    with pytest.raises(TooMany, match="more than 256"):
        needs(("a",) * (MAX_CAPABILITIES + 1), (), {})
    with pytest.raises(TooMany, match="more than 256"):
        needs((), ("x:{a}:{b}",), {"a": ["1"] * 100_000, "b": ["2"] * 100_000})
    with pytest.raises(TooMany, match="characters"):
        needs((), ("fs:read:{path}",), {"path": "x" * 100_000})


@pytest.mark.parametrize(
    ("pattern", "wide", "touches"),
    [
        ("fs:write:/session/secret/**", "fs:write:/session/**", True),
        ("fs:write:/session/secret", "fs:write:/session/**", True),
        ("fs:write:**", "fs:write:/session/**", True),
        ("*", "exec:cmd:*", True),
        ("exec:cmd:rm", "exec:cmd:*", True),
        ("exec:cmd:rm", "fs:write:/session/**", False),
        ("fs:read:/session/**", "fs:write:/session/**", False),
        ("fs", "fs:write:/session/**", False),
    ],
)
def test_a_pattern_touches_a_wide_capability_where_they_overlap(
    pattern: str, wide: str, touches: bool
) -> None:
    assert covers_some(pattern, wide) is touches
