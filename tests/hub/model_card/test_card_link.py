"""A link on its way and a takedown at once: the link is gone, whoever came first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from inferencebench_pipeline.hub.model_card.backlink_edit import KEY
from inferencebench_pipeline.hub.model_card.card_link import link
from inferencebench_pipeline.takedown.takedown import take_down
from tests.hub.conftest import ORGANISATION, World
from tests.hub.flow import LinkingOurModel


@pytest.mark.parametrize("first", ["link", "takedown"])
def test_a_takedown_beside_a_link_leaves_no_link(world: World, store: Path, first: str) -> None:
    scene = LinkingOurModel.new(world, store)
    root = scene.run.path.parent.parent
    for _ in range(4):
        world.faults.add("delay", method="POST", path="/commit/", delay_s=0.5)

    def linked() -> None:
        link(world.hub(), scene.run, root, organisation=ORGANISATION, pull_requests=False)

    def taken_down() -> None:
        take_down(
            world.hub(),
            root,
            target=scene.model.id,
            reason="not wanted",
            requested_by="the author",
            organisation=ORGANISATION,
            on_stage=lambda _line: None,
        )

    work = [linked, taken_down] if first == "link" else [taken_down, linked]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert KEY.encode() not in scene.card()
