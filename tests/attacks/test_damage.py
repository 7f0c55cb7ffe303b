"""The kinds of damage do damage: a test that damages nothing would hold for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.damage import DAMAGES, Damage, changed, each_place, swapped_with

_CONTENT = b'{"version": 1, "name": "a file", "of": [12, 34.5]}\n'


@pytest.mark.parametrize("damage", [*DAMAGES, *each_place(places=3)], ids=str)
def test_each_kind_of_damage_changes_the_file_in_the_same_way_each_time(
    tmp_path: Path, damage: Damage
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(_CONTENT)
    assert not changed(path, _CONTENT)
    damage.inflict(path, seed=1)
    assert changed(path, _CONTENT) or damage.name == "unreadable"  # root may read all


def test_one_seed_damages_one_place(tmp_path: Path) -> None:
    damage = next(each for each in DAMAGES if each.name == "a bit flipped anywhere")
    found = set()
    for seed in (1, 1, 2, 3):
        path = tmp_path / "state.json"
        path.write_bytes(_CONTENT)
        damage.inflict(path, seed=seed)
        found.add(path.read_bytes())
    assert len(found) == 3


def test_another_file_takes_its_place(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"a")
    other.write_bytes(b"b")
    swapped_with(other).inflict(path)
    assert path.read_bytes() == b"b"
