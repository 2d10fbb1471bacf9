"""The checker and the kernel agree on every log: whatever happens, there is nothing to complain of."""

from itertools import pairwise

from hypothesis import given, settings

from tests.kit.checking import assert_clean, check_world, checked
from tests.kit.recording import recorded
from tests.property.test_actor import SETTINGS, ImpatientKernels, Kernels, WrappedKernels
from tests.property.test_core import PLAYS, Move, play, small
from vagus.contract.codec import seal


@given(PLAYS)
def test_the_core_writes_nothing_that_the_checker_complains_of(moves: list[tuple[Move, str, int]]) -> None:
    core = small()
    heads = [0, len(core.records), *(len(core.records) for _ in play(core, moves))]
    commits = [core.records[start:end] for start, end in pairwise(heads) if end > start]
    assert_clean(checked(recorded(seal(commit, "").payload for commit in commits), unfinished=True))


class _Checked(Kernels):
    """With a checker who looks at what is left when everything has come to rest."""

    def teardown(self) -> None:
        super().teardown()
        check_world(self.world)


class CheckedKernels(_Checked, Kernels):
    pass


class CheckedWrappedKernels(_Checked, WrappedKernels):
    pass


class CheckedImpatientKernels(_Checked, ImpatientKernels):
    pass


SAME = settings(SETTINGS, derandomize=True)
"""The same worlds every time."""
TestKernels = CheckedKernels.TestCase
TestKernels.settings = SAME
TestWrappedKernels = CheckedWrappedKernels.TestCase
TestWrappedKernels.settings = SAME
TestImpatientKernels = CheckedImpatientKernels.TestCase
TestImpatientKernels.settings = SAME
