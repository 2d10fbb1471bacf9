"""Settings of a relay."""

from enum import StrEnum
from typing import Annotated

from vagus.contract import limits
from vagus.runtime.settings import ProcessSettings, doc


class Beginning(StrEnum):
    """Where the firehose begins, decided when the first relay of an installation starts."""

    ALL = "all"
    NEW = "new"


class RelaySettings(ProcessSettings, frozen=True, kw_only=True):
    """What a relay needs besides what every process does."""

    events_age_s: Annotated[
        float, doc("seconds for which the firehose keeps an event; 0: for good", ge=0)
    ] = limits.EVENTS_AGE_S
    events_bytes: Annotated[
        int, doc("bytes that the firehose keeps at most, the newest; -1: no limit", ge=-1)
    ] = -1
    events_from: Annotated[
        Beginning, doc("whether the firehose begins with what was there before the first relay")
    ] = Beginning.ALL
    relay_concurrency: Annotated[int, doc("sessions read at a time", ge=1, le=256)] = 16
    survey_s: Annotated[float, doc("seconds between two looks at the ends of all logs", ge=1)] = 30.0

    def __post_init__(self) -> None:
        """Refuse what would drop events before it is noted that they were relayed."""
        super().__post_init__()
        if 0 < self.events_age_s < _LEAST_AGE_S:
            raise ValueError(
                f"VAGUS_EVENTS_AGE_S={self.events_age_s:g}: must be 0 or at least {_LEAST_AGE_S:g}"
            )


_LEAST_AGE_S = 2.0 * limits.DUPLICATE_WINDOW_S
