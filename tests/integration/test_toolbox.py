import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.contract import streams
from vagus.contract.errors import Refused
from vagus.contract.streams import BucketSpec
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolDefinition
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure_bucket
from vagus.runtime.toolbox import Toolbox, register, withdraw

READ = ToolDefinition(name="fs.read", capabilities=("fs:read:{path}",))


@pytest.fixture
async def bucket(bus: Bus, subjects: Subjects) -> Bucket:
    name = subjects.named(streams.TOOLBOX)
    await ensure_bucket(bus, BucketSpec(name=name))
    return Bucket(bus, name)


def like(definition: ToolDefinition, **changed: object) -> ToolDefinition:
    fields = {field: getattr(definition, field) for field in definition.__struct_fields__}
    return ToolDefinition(**(fields | changed))


async def test_a_registered_tool_is_in_the_toolbox(bus: Bus, subjects: Subjects, bucket: Bucket) -> None:
    await register(bus, subjects, READ)
    async with Toolbox(bus, subjects) as toolbox:
        assert toolbox.get("fs.read") == READ
        assert toolbox.get("fs.write") is None
        write = ToolDefinition(name="fs.write")
        await register(bus, subjects, write)
        await eventually(lambda: toolbox.all() == [READ, write])
        await withdraw(bus, subjects, "default", "fs.read")
        await eventually(lambda: toolbox.all() == [write])


async def test_registering_again_changes_nothing(bus: Bus, subjects: Subjects, bucket: Bucket) -> None:
    await register(bus, subjects, READ)
    (before,) = await bucket.entries()
    await register(bus, subjects, READ)
    assert await bucket.entries() == [before]
    await register(bus, subjects, like(READ, description="Better told."))
    assert await bucket.entries() != [before]


async def test_two_pools_may_offer_the_same_tool(bus: Bus, subjects: Subjects, bucket: Bucket) -> None:
    for pool in ("b", "a", "default"):
        await register(bus, subjects, like(READ, pool=pool))
        async with Toolbox(bus, subjects) as toolbox:
            (only,) = toolbox.all()
            assert only.pool == pool  # the first by name, but the default one before all


@pytest.mark.parametrize("pool", ["default", "other"])
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"capabilities": ("fs:read:*",)}, "other capabilities"),
        ({"input_schema": {"type": "object", "required": ["path"]}}, "another input schema"),
    ],
)
async def test_a_differing_definition_of_a_name_is_refused(
    bus: Bus, subjects: Subjects, bucket: Bucket, pool: str, changed: dict[str, object], why: str
) -> None:
    await register(bus, subjects, READ)
    with pytest.raises(Refused, match=why):
        await register(bus, subjects, like(READ, pool=pool, **changed))
    with pytest.raises(Refused, match=why):
        await register(bus, subjects, like(READ, pool=pool, **changed), live_pools={"default"})
    assert await bucket.keys() == ["default.fs.read"]


async def test_what_a_pool_without_runners_left_behind_is_replaced(
    bus: Bus, subjects: Subjects, bucket: Bucket
) -> None:
    await register(bus, subjects, like(READ, pool="gone"))
    mine = like(READ, capabilities=("fs:read:*",))
    await register(bus, subjects, mine, live_pools=())
    assert await bucket.keys() == ["default.fs.read"]
    again = like(mine, capabilities=())
    await register(bus, subjects, again, live_pools=())
    async with Toolbox(bus, subjects) as toolbox:
        assert toolbox.all() == [again]


async def test_of_differing_definitions_at_the_same_time_one_stays(
    bus: Bus, subjects: Subjects, bucket: Bucket
) -> None:
    refused: list[str] = []

    async def one(pool: str) -> None:
        try:
            await register(bus, subjects, like(READ, pool=pool, capabilities=(f"cap:{pool}",)))
        except Refused:
            refused.append(pool)

    async with anyio.create_task_group() as group:
        for pool in ("a", "b", "c"):
            group.start_soon(one, pool)
    assert len(refused) == 2
    assert len(await bucket.keys()) == 1


async def test_an_entry_that_is_no_definition_is_left_out(
    bus: Bus, subjects: Subjects, bucket: Bucket
) -> None:
    await bucket.put("default.broken", b"{}")
    await register(bus, subjects, READ)
    async with Toolbox(bus, subjects) as toolbox:
        assert toolbox.all() == [READ]
