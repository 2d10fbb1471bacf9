"""Comparing JSON with what a type has made of it."""

from collections.abc import Iterator


def missing(written: object, back: object, path: str = "$") -> Iterator[str]:
    """What did not come back: fields that no type knows, and values that changed."""
    if isinstance(written, dict):
        for key, value in written.items():
            if isinstance(back, dict) and key in back:
                yield from missing(value, back[key], f"{path}.{key}")
            elif value not in (None, [], {}, ""):  # these may be left out
                yield f"{path}.{key}"
    elif isinstance(written, list):
        if not isinstance(back, list) or len(back) != len(written):
            yield path
        else:
            for place, (mine, theirs) in enumerate(zip(written, back, strict=True)):
                yield from missing(mine, theirs, f"{path}[{place}]")
    elif written != back:
        yield path
