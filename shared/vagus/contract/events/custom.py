"""Errors, and kinds that others make."""

from vagus.contract.events.base import Kind
from vagus.contract.json import Json


class ErrorRaised(Kind, frozen=True, kw_only=True):
    """Something went wrong that has no kind of its own."""

    message: str


class Custom(Kind, frozen=True, kw_only=True):
    """A kind under a name of its maker's; ours begin with `vagus.`."""

    event_type: str
    data: Json
