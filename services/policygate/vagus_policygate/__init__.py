"""The policy gate: decides whether a tool call may run, and signs the grants of those that may."""
