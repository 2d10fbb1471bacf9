"""Settings: read whole, with messages that name variable, value and rule."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from vagus.contract.errors import SettingsError
from vagus.runtime.settings import LogLevel, ProcessSettings, describe, doc, read_settings, shown, usage


class Example(ProcessSettings, frozen=True, kw_only=True):
    seed_file: Annotated[Path, doc("the key")]
    commands: Annotated[tuple[str, ...], doc("what may run")] = ("git", "ls")
    loud: Annotated[bool, doc("say more")] = False
    ratio: Annotated[float, doc("how much", ge=0, le=1)] = 0.5
    token: Annotated[str, doc("a password", secret=True)] = ""
    limit: Annotated[Annotated[int, msgspec.Meta(ge=1)] | None, doc("at most")] = None

    def __post_init__(self) -> None:
        if self.loud and self.ratio == 0:
            raise ValueError("VAGUS_LOUD=true: needs VAGUS_RATIO above 0")


NEEDED = {"VAGUS_SEED_FILE": "/k"}


def test_what_is_not_set_has_its_default() -> None:
    settings = read_settings(Example, NEEDED)
    assert settings.server == "nats://127.0.0.1:4222"
    assert settings.subjects.root == "vagus"
    assert settings.root == Path(".vagus/root")
    assert settings.credentials is None
    assert settings.log_level is LogLevel.INFO
    assert settings.partitions == 32
    assert settings.commands == ("git", "ls")
    assert settings.instance != read_settings(Example, NEEDED).instance


def test_what_is_set_is_read_by_its_type() -> None:
    settings = read_settings(
        Example,
        {
            **NEEDED,
            "VAGUS_COMMANDS": " git , cargo,,",
            "VAGUS_CREDENTIALS": "/c",
            "VAGUS_LIMIT": "3",
            "VAGUS_LOG_LEVEL": "debug",
            "VAGUS_LOUD": "On",
            "VAGUS_RATIO": "1e-1",
            "VAGUS_TOKEN": " s ",
        },
    )
    assert settings.commands == ("git", "cargo")
    assert settings.credentials == Path("/c")
    assert settings.limit == 3
    assert settings.log_level is LogLevel.DEBUG
    assert settings.loud is True
    assert settings.ratio == 0.1


def test_empty_means_none_of_a_list_and_no_optional_value() -> None:
    settings = read_settings(
        Example, {**NEEDED, "VAGUS_COMMANDS": "", "VAGUS_CREDENTIALS": "", "VAGUS_LIMIT": ""}
    )
    assert settings.commands == ()
    assert settings.credentials is None
    assert settings.limit is None


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("VAGUS_PARTITIONS", "abc", "a whole number from 1 to 1024"),
        ("VAGUS_PARTITIONS", "0", "a whole number from 1 to 1024"),
        ("VAGUS_PARTITIONS", "2.5", "a whole number from 1 to 1024"),
        ("VAGUS_PARTITIONS", "", "a whole number from 1 to 1024"),
        ("VAGUS_LIMIT", "0", "a whole number of at least 1, or empty"),
        ("VAGUS_RATIO", "nan", "a number from 0 to 1"),
        ("VAGUS_RATIO", "2", "a number from 0 to 1"),
        ("VAGUS_STOP_GRACE_S", "-1", "a number from 0 to 600"),
        ("VAGUS_STOP_GRACE_S", "inf", "a number from 0 to 600"),
        ("VAGUS_LOUD", "maybe", "true or false"),
        ("VAGUS_LOG_LEVEL", "LOUD", "one of debug, info, warning, error"),
        ("VAGUS_ROOT_SUBJECT", "a.b", "1 to 64 of A-Z a-z 0-9 _ -"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable_and_rule(variable: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(Example, {**NEEDED, variable: value})
    assert refused.value.message == f"{variable}={value!r}: must be {rule}"


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(Example, {"VAGUS_REPLICAS": "9", "VAGUS_RATIO": "x" * 100})
    text = refused.value.message
    assert "VAGUS_SEED_FILE is not set: give a path (the key)" in text
    assert "VAGUS_REPLICAS='9': must be a whole number from 1 to 5" in text
    assert "VAGUS_RATIO='xxx" in text
    assert len(text) < 300


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="needs VAGUS_RATIO above 0"):
        read_settings(Example, {**NEEDED, "VAGUS_LOUD": "true", "VAGUS_RATIO": "0"})


def test_help_lists_every_setting_with_rule_and_default() -> None:
    text = usage(Example)
    for setting in describe(Example):
        assert setting.variable in text
        assert setting.help
        assert setting.help in text
    assert "the key: a path; required" in text
    assert "what may run: a list separated by commas, each text; default git,ls" in text
    assert "say more: true or false; default false" in text


def test_secrets_and_passwords_are_never_shown() -> None:
    settings = read_settings(
        Example,
        {**NEEDED, "VAGUS_TOKEN": "hunter2", "VAGUS_SERVER": "nats://me:hunter2@h:4222,nats://x:hunter2@i"},
    )
    text = shown(settings)
    assert "hunter2" not in text
    assert "VAGUS_SERVER=nats://(hidden)@h:4222,nats://(hidden)@i" in text
    assert "VAGUS_COMMANDS=git,ls" in text
    assert "VAGUS_LOUD=false" in text


def test_a_wrong_secret_is_not_shown_either() -> None:
    class Secret(msgspec.Struct, frozen=True):
        pin: Annotated[int, doc("a number nobody may know", secret=True)]

    with pytest.raises(SettingsError) as refused:
        read_settings(Secret, {"VAGUS_PIN": "hunter2"})
    assert refused.value.message == "VAGUS_PIN=(hidden): must be a whole number"


def test_what_is_shown_can_be_read_again() -> None:
    settings = read_settings(Example, {**NEEDED, "VAGUS_LIMIT": "4", "VAGUS_COMMANDS": ""})
    again = dict(line.split("=", 1) for line in shown(settings).splitlines() if "(hidden)" not in line)
    assert read_settings(Example, again) == settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"VAGUS_CREDENTIALS": "/c", "VAGUS_NKEY": "/n"},
            "VAGUS_CREDENTIALS and VAGUS_NKEY: set one of them",
        ),
        ({"VAGUS_TLS_CERT": "/c"}, "VAGUS_TLS_CERT and VAGUS_TLS_KEY: set both or none"),
        ({"VAGUS_INBOX_PREFIX": "replies"}, "VAGUS_INBOX_PREFIX='replies': must be _INBOX"),
        ({"VAGUS_INBOX_PREFIX": "_INBOX.a"}, "VAGUS_INBOX_PREFIX='_INBOX.a': must be _INBOX"),
    ],
)
def test_ways_to_log_in_that_contradict_each_other_are_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)):
        read_settings(ProcessSettings, given)
