"""The wire contract of Vagus: types, names and numbers. Pure; imports no other part of Vagus."""
