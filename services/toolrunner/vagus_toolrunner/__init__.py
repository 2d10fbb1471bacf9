"""The toolrunner of Vagus."""
