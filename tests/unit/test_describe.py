import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagus.cli.render.describe import Weight, describe
from vagus.cli.render.text import block, clean, short_json
from vagus.contract import events
from vagus.contract.events import BY_TYPE, EventKind
from vagus.contract.state import LoopPhase

EVIL = "\x1b[31mred\x1b[0m \x07\u202e evil \x9b31m\nnext"


@pytest.mark.parametrize("text", [EVIL, "\r\x1b]0;title\x07", "\ud800", "a\u2028b"])
def test_nothing_steers_the_terminal(text: str) -> None:
    line = clean(text)
    assert not any(char < " " or "\x7f" <= char <= "\x9f" or char in "\u202e\u2028" for char in line)
    line.encode()


def test_text_is_cut_with_an_ellipsis() -> None:
    assert clean("abcdef", 4) == "abc…"
    assert clean("abcd", 4) == "abcd"
    assert len(clean("x" * 10_000_000, 10)) == 10


def test_a_block_keeps_its_lines() -> None:
    assert block("a\r\nb\x1b\nc") == "a\nb·\nc"


@given(st.text())
def test_json_is_shown_on_one_short_line(text: str) -> None:
    shown = short_json({"a": text.encode(errors="replace").decode()}, 50)
    assert "\n" not in shown
    assert len(shown) <= 50


@pytest.mark.parametrize(
    ("kind", "glyph", "words"),
    [
        (events.DeliberationProposed(summary="do it"), "▶", "tick do it"),
        (events.DeliberationProposed(summary=""), "▶", "tick (goes on)"),
        (events.Message(role="assistant", content="hello"), "»", "hello"),
        (events.ToolCallFailed(call_id="c", tool_name="t", error="denied"), "✗", "t denied"),
        (events.FileMutated(path="a.txt", content_hash="deleted"), "✎", "a.txt deleted"),
        (events.Custom(event_type="mine", data={"a": 1}), "•", 'mine {"a":1}'),
        (events.Custom(event_type="vagus.policy_set", data={}), "·", "vagus.policy_set"),
        (
            events.Custom(event_type="loop_detection.warning", data={"message": "stop"}),
            "!",
            "loop_detection.warning stop",
        ),
        (events.Unknown(b'{"type":"VisionResult","x":1}'), "•", 'VisionResult {"type":"VisionResult","x":1}'),
        (events.Queued(queue_id="q", mode="steer", message="m"), "•", None),  # type: ignore[arg-type]
    ],
)
def test_events_are_told_in_a_few_words(kind: EventKind, glyph: str, words: str | None) -> None:
    said = describe(kind)
    assert said.glyph == glyph
    if words is not None:
        assert " ".join(part for part in (said.title, said.detail) if part) == words


def test_words_of_models_and_tools_are_cleaned() -> None:
    for kind in (
        events.DeliberationProposed(summary=EVIL),
        events.Message(role="assistant", content=EVIL),
        events.TextDelta(delta=EVIL),
        events.ToolCallRequested(call_id="c", tool_name="t", arguments={"a": EVIL}),
        events.ToolCallFailed(call_id="c", tool_name="t", error=EVIL),
        events.RunErrored(error=EVIL),
        events.Custom(event_type=EVIL, data=EVIL),
        events.FileMutated(path=EVIL, content_hash="x"),
        events.UserMessage(content=EVIL),
        events.Unknown(b'{"type":"\\u001b[31m"}'),
    ):
        said = describe(kind)
        assert "\x1b" not in said.title + said.detail
        assert "\n" not in said.title + said.detail


def test_what_nobody_waits_for_is_quiet() -> None:
    assert describe(events.PhaseEntered(phase=LoopPhase.GATE)).weight is Weight.QUIET
    assert describe(events.Heartbeat(summary="tick complete")).weight is Weight.QUIET
    assert describe(events.SessionClosed(reason="x")).weight is Weight.LOUD
    assert len(BY_TYPE) >= 71
