"""Settings of a process that runs sinks."""

from typing import Annotated

from vagus.runtime.settings import ProcessSettings, doc


class SinkSettings(ProcessSettings, frozen=True, kw_only=True):
    """What sinks need besides what every process does."""

    sinks: Annotated[str, doc("TOML or JSON file of sinks, or the JSON itself; see docs/sinks.md")]
