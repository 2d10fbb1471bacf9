"""The I/O kit shared by all processes: connection, log, queues, settings, lifecycle, telemetry."""
