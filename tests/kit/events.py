"""Records to test with: numbered, of one branch, of one tick."""

from collections.abc import Sequence

from vagus.contract.events import Actor, ActorType, EventKind, EventRecord

KERNEL = Actor(type=ActorType.SYSTEM, component="vagus-kernel")
TICK = "0c0c0c0c-0000-4000-8000-000000000000"


def records(
    *kinds: EventKind, first: int = 1, session: str = "s", branch: str = "main", correlation_id: str = TICK
) -> list[EventRecord]:
    """One record per kind, sequences from `first` on; the same arguments give the same records."""
    return [
        EventRecord(
            event_id=f"00000000-0000-4000-8000-{sequence:012d}",
            session_id=session,
            agent_id="aaaaaaaa-0000-4000-8000-000000000000",
            branch_id=branch,
            sequence=sequence,
            timestamp="2026-04-05T12:26:01.123456789Z",
            actor=KERNEL,
            correlation_id=correlation_id,
            kind=kind,
        )
        for sequence, kind in enumerate(kinds, first)
    ]


def types(events: Sequence[EventRecord]) -> list[str]:
    """The types of the events, phases as `P:phase`."""
    return [
        f"P:{phase}" if (phase := getattr(event.kind, "phase", None)) else event.kind.type for event in events
    ]
