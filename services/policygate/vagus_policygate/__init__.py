"""The policygate of Vagus."""
