"""Sinks: events into other systems, each under a durable name of its own."""
