"""Archived logs: reading them where they are, and moving logs there and back."""
