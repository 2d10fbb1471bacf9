"""Settings of an approver."""

from typing import Annotated

from vagus.runtime.settings import ProcessSettings, doc


class Settings(ProcessSettings, frozen=True, kw_only=True):
    """What an approver needs besides what every process does."""

    approver_concurrency: Annotated[int, doc("messages worked on at a time", ge=1, le=4096)] = 64
    ticket_age_s: Annotated[
        float, doc("seconds for which a resolved ticket is kept; the log keeps it for good", ge=60)
    ] = 7 * 24 * 3600.0
