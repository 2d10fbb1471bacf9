"""What is due when."""

from hypothesis import given
from hypothesis import strategies as st

from vagus_approver.agenda import Agenda


def test_what_is_due_is_taken_once_and_in_order() -> None:
    agenda = Agenda()
    agenda.put("late", 30)
    agenda.put("early", 10)
    agenda.put("middle", 20)
    assert agenda.next_due() == 10
    assert agenda.take_due(9) == []
    assert agenda.take_due(20) == ["early", "middle"]
    assert agenda.take_due(20) == []
    assert len(agenda) == 1


def test_a_key_is_due_once_however_often_it_is_put() -> None:
    agenda = Agenda()
    for due in (10, 30, 20):
        agenda.put("a", due)
    assert agenda.take_due(19) == []
    assert agenda.take_due(30) == ["a"]
    assert agenda.next_due() is None


def test_what_is_dropped_is_never_due() -> None:
    agenda = Agenda()
    agenda.put("a", 1)
    agenda.drop("a")
    agenda.drop("b")
    assert agenda.take_due(9) == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20))), max_size=200))
def test_an_agenda_is_a_dictionary_with_an_order(steps: list[tuple[str, int | None]]) -> None:
    agenda, model = Agenda(), dict[str, int]()
    for key, due in steps:
        if due is None:
            agenda.drop(key)
            model.pop(key, None)
        else:
            agenda.put(key, due)
            model[key] = due
        assert agenda.next_due() == min(model.values(), default=None)
        assert len(agenda) == len(model)
    due_keys = sorted(key for key, due in model.items() if due <= 10)
    assert sorted(agenda.take_due(10)) == due_keys
