"""The client library: what programs use to speak to sessions. Its names are re-exported by `vagus`."""
