"""The relay: carries the events of all sessions to other systems."""
