from collections.abc import Mapping

from vagus.runtime.listing import listed

LIMIT = 4


class Lister:
    """Lists `names` a page at a time, but those that cannot be asked just now."""

    def __init__(self, names: list[str], away: frozenset[str] = frozenset()) -> None:
        self.names = names
        self.away = away
        self.asked: list[int] = []

    async def ask(self, offset: int) -> Mapping[str, object]:
        self.asked.append(offset)
        page = self.names[offset : offset + LIMIT]
        there = [name for name in page if name not in self.away]
        return {"total": len(self.names), "offset": offset, "limit": LIMIT, "names": there or None}


def read(answer: Mapping[str, object]) -> list[str]:
    names = answer["names"]
    return names if isinstance(names, list) else []


async def test_all_pages_are_read() -> None:
    lister = Lister([f"n{number}" for number in range(10)])
    assert await listed(lister.ask, read) == lister.names
    assert lister.asked == [0, 4, 8]


async def test_a_whole_last_page_is_the_last() -> None:
    lister = Lister([f"n{number}" for number in range(8)])
    assert await listed(lister.ask, read) == lister.names
    assert lister.asked == [0, 4]


async def test_nothing_is_one_page() -> None:
    lister = Lister([])
    assert await listed(lister.ask, read) == []
    assert lister.asked == [0]


async def test_what_is_left_out_is_neither_waited_for_nor_makes_others_come_twice() -> None:
    names = [f"n{number}" for number in range(10)]
    lister = Lister(names, away=frozenset(("n1", "n9")))
    assert await listed(lister.ask, read) == [name for name in names if name not in lister.away]
    lister = Lister(names, away=frozenset(names[4:8]))
    assert await listed(lister.ask, read) == names[:4] + names[8:]
    assert lister.asked == [0, 4, 8]
