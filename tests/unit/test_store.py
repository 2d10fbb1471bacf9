import os
from pathlib import Path

import pytest

from vagus.cli.checks.store import check_store
from vagus.contract.errors import SettingsError
from vagus.runtime.grants import generate_key
from vagus.runtime.store import Store, held


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.make()
    generate_key(made.seed)
    return made


def wrong(store: Store) -> list[tuple[str, str]]:
    return [(finding.name, finding.mend) for finding in check_store(store.folder) if not finding.ok]


def test_a_store_is_made_for_its_owner_alone(store: Store) -> None:
    store.make()
    assert {part.stat().st_mode & 0o777 for part in (store.folder, store.nats, store.root, store.logs)} == {
        0o700
    }
    assert wrong(store) == []


def test_a_store_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot make .*: Not a directory"):
        Store(tmp_path / "file" / "store").make()


def test_a_store_is_held_by_one(store: Store) -> None:
    with held(store), pytest.raises(SettingsError, match=f"in use by process {os.getpid()}"), held(store):
        pass
    with held(store):
        assert store.lock.read_text() == f"{os.getpid()}\n"


def test_a_folder_that_others_can_write_is_to_be_mended(store: Store) -> None:
    store.root.chmod(0o777)
    assert wrong(store) == [("store root", f"chmod go-w {store.root}")]


def test_a_key_that_others_can_read_is_to_be_mended(store: Store) -> None:
    store.seed.chmod(0o640)
    assert wrong(store) == [("grant key", f"chmod 600 {store.seed}")]


def test_a_file_in_a_folders_place_is_to_be_mended(store: Store) -> None:
    store.logs.rmdir()
    store.logs.write_text("")
    assert wrong(store) == [("store logs", "name another with --store")]


def test_a_store_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    assert [finding.ok for finding in check_store(tmp_path / "nowhere")] == [True]
