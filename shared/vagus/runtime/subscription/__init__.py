"""Subscriptions to the events of all sessions, shared by as many processes as take part."""

from vagus.runtime.subscription.delivery import Delivery
from vagus.runtime.subscription.opening import Start, subscribe
from vagus.runtime.subscription.subscription import Subscription

__all__ = ["Delivery", "Start", "Subscription", "subscribe"]
