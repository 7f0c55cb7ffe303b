"""The folders that a trust root is read from unasked: in which nobody else can write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inferencebench_pipeline.trust.errors import TrustConfigError
from inferencebench_pipeline.trust.root.safe_place import require_safe_place

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other users")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "data/inferencebench/trust"
    folder.mkdir(parents=True)
    (folder / "pin.json").write_text("{}")
    return folder


def test_a_folder_of_ones_own_is_safe_and_so_is_none_at_all(store: Path, tmp_path: Path) -> None:
    require_safe_place(store)
    require_safe_place(tmp_path / "nothing")


@pytest.mark.parametrize("place", ["data", "data/inferencebench/trust/pin.json", "."])
def test_what_everybody_can_write_is_refused(store: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / place).chmod(0o777)
    with pytest.raises(TrustConfigError, match="is writable for everybody, so somebody else could"):
        require_safe_place(store)


def test_a_folder_in_which_nobody_can_replace_the_files_of_others_is_safe(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").chmod(0o1777)
    require_safe_place(store)


@as_root
@pytest.mark.parametrize("place", ["data", "data/inferencebench/trust/pin.json"])
def test_what_belongs_to_another_user_is_refused(store: Path, tmp_path: Path, place: str) -> None:
    os.chown(tmp_path / place, 12345, -1)
    with pytest.raises(TrustConfigError, match="belongs to the user 12345"):
        require_safe_place(store)


def test_a_link_is_judged_by_where_it_leads(store: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "pin.json").write_text("{}")
    shared.chmod(0o777)
    (store / "pin.json").unlink()
    (store / "pin.json").symlink_to(shared / "pin.json")
    with pytest.raises(TrustConfigError, match=f"{shared} is writable for everybody"):
        require_safe_place(store)
    (store / "pin.json").unlink()
    require_safe_place(store)
    linked = tmp_path / "linked"
    linked.symlink_to(shared)
    with pytest.raises(TrustConfigError, match="is writable for everybody"):
        require_safe_place(linked)


def test_a_link_that_leads_nowhere_is_refused(store: Path) -> None:
    (store / "other.json").symlink_to(store / "gone")
    with pytest.raises(TrustConfigError, match="cannot be examined"):
        require_safe_place(store)


def test_a_system_without_users_is_not_asked(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.chmod(0o777)
    monkeypatch.delattr(os, "getuid")
    require_safe_place(store)
