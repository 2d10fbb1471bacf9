"""What a relay is told to keep."""

import pytest

from vagus.contract.errors import SettingsError
from vagus.runtime.settings import read_settings
from vagus_relay.settings import Beginning, RelaySettings


def test_everything_is_kept_for_a_month_unless_one_says_otherwise() -> None:
    settings = read_settings(RelaySettings, {})
    assert (settings.events_age_s, settings.events_bytes) == (30 * 24 * 3600, -1)
    assert settings.events_from is Beginning.ALL


@pytest.mark.parametrize("seconds", ["0", "240"])
def test_events_are_kept_for_good_or_long_enough(seconds: str) -> None:
    assert read_settings(RelaySettings, {"VAGUS_EVENTS_AGE_S": seconds}).events_age_s == float(seconds)


def test_an_age_at_which_events_go_before_it_is_noted_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"VAGUS_EVENTS_AGE_S=5: must be 0 or at least 240"):
        read_settings(RelaySettings, {"VAGUS_EVENTS_AGE_S": "5"})


def test_what_every_process_checks_is_checked_too() -> None:
    with pytest.raises(SettingsError, match="VAGUS_CREDENTIALS and VAGUS_NKEY"):
        read_settings(RelaySettings, {"VAGUS_CREDENTIALS": "a", "VAGUS_NKEY": "b"})
