"""Session logs on JetStream: one stream a session, one message a commit."""

from vagus.runtime.jetstream_log.placed import JetStreamLog

__all__ = ["JetStreamLog"]
