from collections.abc import Awaitable, Callable, Mapping

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from tests.kit.services import stored
from vagus.contract import streams
from vagus.contract.errors import SettingsError
from vagus.contract.limits import REQUEST_TIMEOUT_S
from vagus.contract.messages import Role
from vagus.contract.streams import ConsumerSpec, StreamSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure, ensure_consumer, ensure_stream


async def test_everything_exists_after_ensuring_and_again_changes_nothing(
    bus: Bus, subjects: Subjects
) -> None:
    await ensure(bus, subjects, partitions=2)
    await ensure(bus, subjects, partitions=2)
    names = await bus.api("STREAM.NAMES", {"subject": f"{subjects.root}.>"})
    assert names["streams"] == [
        subjects.named(n) for n in ("APPROVALS", "ARCHIVE", "DEAD", "GATE", "INBOX", "SCHEDULES", "TOOLS")
    ]


async def test_an_inbox_of_the_first_version_is_brought_up_to_date_with_what_it_holds(
    bus: Bus, subjects: Subjects
) -> None:
    (inbox,) = [spec for spec in streams.queues(subjects, 2) if spec.former_subjects]
    await ensure_stream(bus, replace(inbox, subjects=inbox.former_subjects))
    await bus.store(subjects.inbox(Role.COMMAND, "s"), b"")
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(lambda: ensure(bus, subjects, partitions=2))
    assert await stored(bus, inbox.name) == 1
    await bus.store(subjects.schedule("s", "x"), b"")
    assert await stored(bus, subjects.named("SCHEDULES")) == 1


class Outpaced(Bus):
    """Another process is always a moment faster."""

    def __init__(self, bus: Bus, other: Callable[[], Awaitable[None]]) -> None:
        self.__dict__.update(bus.__dict__)
        self._other = other
        self.waited = False

    async def api(
        self, verb: str, body: Mapping[str, object] | None = None, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> dict[str, object]:
        if verb.startswith("STREAM.INFO.") and not self.waited:
            self.waited = True
            await self._other()
        return await super().api(verb, body, timeout_s=timeout_s)


async def test_an_inbox_that_another_process_brings_up_to_date_meanwhile_is_taken(
    bus: Bus, subjects: Subjects
) -> None:
    (inbox,) = [spec for spec in streams.queues(subjects, 2) if spec.former_subjects]
    await ensure_stream(bus, replace(inbox, subjects=inbox.former_subjects))
    outpaced = Outpaced(bus, lambda: ensure_stream(bus, inbox))
    await ensure_stream(outpaced, inbox)
    assert outpaced.waited


class Leaderless(Bus):
    """As on a cluster that has just lost servers: the list lacks consumers whose leader does not answer."""

    def __init__(self, bus: Bus, *missing: str) -> None:
        self.__dict__.update(bus.__dict__)
        self._missing = missing

    async def api(
        self, verb: str, body: Mapping[str, object] | None = None, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> dict[str, object]:
        answer = await super().api(verb, body, timeout_s=timeout_s)
        if verb.startswith("CONSUMER.LIST."):
            listed = msgspec.convert(answer["consumers"], list[dict[str, object]])
            return answer | {"consumers": [one for one in listed if one["name"] not in self._missing]}
        return answer


async def test_consumers_without_a_leader_are_ensured_one_by_one(bus: Bus, subjects: Subjects) -> None:
    await ensure(bus, subjects, partitions=2)
    with anyio.fail_after(30):
        await ensure(Leaderless(bus, "answers-0", "commands-1"), subjects, partitions=2)


async def test_several_processes_may_ensure_at_once(bus: Bus, subjects: Subjects) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(lambda: ensure(bus, subjects, partitions=2))


async def test_another_number_of_partitions_is_refused_by_name(bus: Bus, subjects: Subjects) -> None:
    await ensure(bus, subjects, partitions=2)
    with pytest.raises(SettingsError, match=r"INBOX exists with subject_transform=.*partition.2,2"):
        await ensure(bus, subjects, partitions=4)


async def test_a_differing_consumer_is_refused_by_name(bus: Bus, subjects: Subjects) -> None:
    stream = StreamSpec(name=subjects.named("Q"), subjects=(f"{subjects.root}.q.>",))
    await ensure_stream(bus, stream)
    await ensure_consumer(bus, ConsumerSpec(stream=stream.name, name="c", filters=(f"{subjects.root}.q.a",)))
    with pytest.raises(SettingsError, match=r"consumer c of .* exists with ack_wait=5000000000"):
        await ensure_consumer(
            bus,
            ConsumerSpec(stream=stream.name, name="c", filters=(f"{subjects.root}.q.a",), ack_wait_s=9),
        )


async def test_the_inbox_partitions_by_session(bus: Bus, subjects: Subjects) -> None:
    await ensure(bus, subjects, partitions=4)
    for session in ("a", "b", "c", "d", "e"):
        for role in Role:
            await bus.store(subjects.inbox(role, session), b"")
    info = await bus.api(
        f"STREAM.INFO.{subjects.named('INBOX')}", {"subjects_filter": f"{subjects.root}.inbox.>"}
    )
    stored = list(info["state"]["subjects"])  # type: ignore[index]
    homes = {tuple(subject.split(".")[2::2]) for subject in stored}
    assert len(stored) == 20
    assert len(homes) == 5, "all roles of a session share a partition"
    assert {partition for partition, _ in homes} <= {"0", "1", "2", "3"}


async def test_a_session_log_cannot_be_purged(bus: Bus, subjects: Subjects) -> None:
    spec = streams.session_log(subjects, "s")
    await ensure_stream(bus, spec)
    info = await bus.api(f"STREAM.INFO.{spec.name}")
    config = info["config"]
    assert isinstance(config, dict)
    assert config["deny_purge"]
    assert config["deny_delete"]
    assert config["republish"] == {"src": subjects.all_logs(), "dest": subjects.all_feeds()}
