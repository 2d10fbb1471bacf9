"""The approver of Vagus."""
