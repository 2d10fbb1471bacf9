"""What a check found."""

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor."""

    name: str
    ok: bool
    text: str
    """What is so."""
    mend: str = ""
    """What to do about it; empty when it is well."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    ok: bool
    findings: tuple[Finding, ...]


def well(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name=name, ok=True, text=text)


def ill(name: str, text: str, mend: str) -> Finding:
    """Something is to be mended."""
    return Finding(name=name, ok=False, text=text, mend=mend)
