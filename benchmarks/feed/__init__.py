"""What it costs to live off the log: lag and rate of every way to get events, and what subscribers add."""
