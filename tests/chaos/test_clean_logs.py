"""The checker finds nothing wrong with what is right."""

from pathlib import Path

from tests.kit.recording import Recording


async def test_a_real_run_is_without_violations(recording: Recording, tmp_path: Path) -> None:
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.ok


async def test_a_log_that_is_taken_apart_is_put_together_as_it_was(recording: Recording) -> None:
    for session in ("work", "poor", "mute"):
        before = recording.log(session)
        recording.edit(session).play()
        assert [m.data for m in recording.log(session)] == [m.data for m in before]
