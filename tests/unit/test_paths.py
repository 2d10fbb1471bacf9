import pytest

from vagus.contract.paths import workspace_parts


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a", ("a",)),
        ("/a", ("a",)),
        ("//a///b/", ("a", "b")),
        ("./a/./b", ("a", "b")),
        ("a/../b", ("b",)),
        ("a/b/../../c", ("c",)),
        ("", ()),
        ("/", ()),
        (".", ()),
        ("a/..", ()),
        ("..", None),
        ("../a", None),
        ("/..", None),
        ("a/../../b", None),
        ("a\0b", None),
        ("\ud800", None),
        ("...", ("...",)),
        ("a\\..\\b", ("a\\..\\b",)),
        ("%2e%2e/a", ("%2e%2e", "a")),
        ("ä/☕", ("ä", "☕")),
    ],
)
def test_a_path_is_read_by_its_text_alone(path: str, parts: tuple[str, ...] | None) -> None:
    assert workspace_parts(path) == parts
