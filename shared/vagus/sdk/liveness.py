"""Is there anybody to answer?"""

from vagus.contract.errors import VagusError
from vagus.contract.streams import MEMBERS
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus


async def may_live(bus: Bus, subjects: Subjects, kind: str) -> bool:
    """Whether a process of this kind lives, such as `kernel`; true as well when that cannot be told now."""
    bucket = Bucket(bus, subjects.named(MEMBERS))
    try:
        return bool(await bucket.keys(f"{kind}.*")) or not await bucket.is_led()
    except VagusError:
        return True
