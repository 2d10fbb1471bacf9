"""The kernel of Vagus."""
