"""What is done on the Hub, as scenes that can be cut anywhere, gone through again, and checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from inferencebench_pipeline.community_results.audit import Submission
from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.proposal import propose
from inferencebench_pipeline.community_results.read import ModelResult, read_results
from inferencebench_pipeline.community_results.register import load_evaluations
from inferencebench_pipeline.community_results.results_file import BenchmarkTask, EvaluationEntry
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.naming import dataset_repo_id
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.published_files import read_back
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.hub.model_card.backlink_edit import (
    KEY,
    PROPOSAL,
    BacklinkReceipt,
    LinkPolicy,
    backlink,
    check_backlink,
    compare_cards,
)
from inferencebench_pipeline.hub.model_card.front_matter import append_item, get_key
from inferencebench_pipeline.hub.takedowns.register import Takedowns, load_takedowns
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, new_run_id
from inferencebench_pipeline.takedown.takedown import REMOVAL, take_down
from tests.hub.conftest import ORGANISATION, World
from tests.hub.evaluations import SPEC
from tests.hub.records import accept, recorded_run

CARD = b"---\nlicense: other\nlanguage: [en, no]  # Norwegian\nversion: 1.10\n---\n# A model\n"

RESULTS = ".eval_results/ours.yaml"
_OUR_RESULT = """\
- dataset: {{id: a/b, task_id: sums}}
  value: 0.5
  source: {{url: "{datasets}/run"}}
"""


@dataclass(frozen=True)
class Scene(ABC):
    """Something done on the Hub, and what must be true once it was done without an error."""

    world: World
    run: RunDirectory
    model: Repo

    @classmethod
    @abstractmethod
    def new(cls, world: World, store: Path) -> Self:
        """Return a fresh scene."""

    @abstractmethod
    def go(self, hub: EvaluationHub) -> None:
        """Do it, once."""

    @abstractmethod
    def check(self) -> None:
        """Assert that it was done completely, once, and nothing else was."""

    def card(self, revision: str = "main") -> bytes:
        """Return the model's card as it is now."""
        hub = self.world.hub()
        head = hub.head(self.model, revision)
        assert head.commit is not None
        return hub.fetch(self.model, head.commit, "README.md")


class Publishing(Scene):
    """A run is published: one dataset, one commit of exactly its files, a receipt for them."""

    @classmethod
    def new(cls, world: World, store: Path) -> Self:
        model = world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", CARD)
        return cls(world, recorded_run(store, model=model.id), model)

    def go(self, hub: EvaluationHub) -> None:
        publish(hub, self.run, organisation=ORGANISATION, verify=accept, on_stage=_ignore)

    def check(self) -> None:
        hub = self.world.hub()
        receipt = Receipt.model_validate_json(self.run.read(RunFile.PUBLICATION))
        titles = self.world.commits(_dataset(self.run).id)
        assert sum(title.startswith("Publish record") for title in titles) == 1, titles
        assert hub.head(_dataset(self.run)).commit == receipt.commit
        served = read_back(hub, receipt)
        assert set(served) == {"envelope.json", "traces.parquet", "README.md", "latency.png"}
        for name in (RunFile.ENVELOPE, RunFile.TRACES):
            assert served[name.value] == self.run.read(name)


class LinkingOurModel(Scene):
    """A model of ours is linked by commit: one item, no other byte changed."""

    @classmethod
    def new(cls, world: World, store: Path) -> Self:
        model = world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", CARD)
        return cls(world, published_run(world, store, model), model)

    def go(self, hub: EvaluationHub) -> None:
        backlink(hub, self.run, LinkPolicy())

    def check(self) -> None:
        _check_link(self, self.card())
        assert not self.world.hub().pull_requests(self.model)


class LinkingTheirModel(Scene):
    """Somebody's model gets one pull request, open, with one item; its card is untouched."""

    @classmethod
    def new(cls, world: World, store: Path) -> Self:
        model = world.put_model(world.user("somebody"), f"somebody/m-{new_run_id()}", CARD)
        return cls(world, published_run(world, store, model), model)

    def go(self, hub: EvaluationHub) -> None:
        backlink(hub, self.run, LinkPolicy(pull_requests=True))

    def check(self) -> None:
        (pull,) = (p for p in self.world.hub().pull_requests(self.model) if p.is_live)
        assert (pull.title, pull.status) == (PROPOSAL.title, "open")
        _check_link(self, self.card(pull.ref))
        assert self.card() == CARD


class TakingDown(Scene):
    """A model of ours is taken down: the card is what it was, and it stays so."""

    @classmethod
    def new(cls, world: World, store: Path) -> Self:
        scene = LinkingOurModel.new(world, store)
        scene.go(world.hub())
        return cls(world, scene.run, scene.model)

    @property
    def _root(self) -> Path:
        return self.run.path.parent.parent

    def go(self, hub: EvaluationHub) -> None:
        take_down(
            hub,
            self._root,
            target=self.model.id,
            reason="not wanted",
            requested_by="the author",
            organisation=ORGANISATION,
            on_stage=_ignore,
        )

    def check(self) -> None:
        assert self.card() == CARD
        takedown = load_takedowns(self._root).of(self.model.id)
        assert takedown is not None
        assert takedown.carried_out_at is not None


class TakingDownTheirs(TakingDown):
    """Somebody's model is taken down: one pull request takes out our link and our result."""

    @classmethod
    def new(cls, world: World, store: Path) -> Self:
        owner = world.user("somebody")
        model = world.put_model(owner, f"somebody/m-{new_run_id()}", CARD)
        datasets = f"{world.url}/datasets/{ORGANISATION}"
        files = {"README.md": append_item(CARD, KEY, {"url": f"{datasets}/run"})}
        files |= {RESULTS: _OUR_RESULT.format(datasets=datasets).encode()}
        owner.commit(model, files, message="merged", parent=owner.head(model).commit)
        return cls(world, recorded_run(store, model=model.id), model)

    def check(self) -> None:
        hub = self.world.hub()
        (pull,) = (p for p in hub.pull_requests(self.model) if p.is_live)
        assert (pull.title, pull.status) == (REMOVAL.title, "open")
        assert self.card(pull.ref) == CARD
        assert hub.head(self.model, pull.ref).files == {".gitattributes", "README.md"}
        assert KEY.encode() in self.card()
        assert RESULTS in hub.head(self.model).files
        takedown = load_takedowns(self._root).of(self.model.id)
        assert takedown is not None
        assert takedown.carried_out_at is None


class ProposingResult(Scene):
    """A result is entered into somebody's model: one pull request, open, with one file."""

    @classmethod
    def new(cls, world: World, store: Path) -> Self:
        owner = world.user("somebody")
        model = world.put_model(owner, f"somebody/m-{new_run_id()}", CARD)
        scene = cls(world, recorded_run(store, model=model.id), model)
        benchmark = Repo("dataset", scene._entry.dataset.id)
        assert owner.create(benchmark)
        owner.commit(benchmark, {"eval.yaml": SPEC}, message="spec", parent=None)
        world.ask("/_sandbox/benchmarks", {"dataset": benchmark.id})
        return scene

    @property
    def _root(self) -> Path:
        return self.run.path.parent.parent / self.model.id

    @property
    def _entry(self) -> EvaluationEntry:
        task = BenchmarkTask(id=f"{self.model.id}-sums", task_id="sums")
        return EvaluationEntry(dataset=task, value=0.5, notes="engine=vllm/0.12.0")

    def go(self, hub: EvaluationHub) -> None:
        submission = Submission(self.model.id, self._entry)
        propose(hub, self._root, submission, takedowns=Takedowns(), confirmation=self.model.id)

    def check(self) -> None:
        hub = self.world.hub()
        (pull,) = (p for p in hub.pull_requests(self.model) if p.is_live)
        assert pull.status == "open"
        (shown,) = read_results(hub, self.model.id)
        assert isinstance(shown, ModelResult)
        assert (shown.entry, shown.pull_request) == (self._entry, pull.number)
        (noted,) = load_evaluations(self._root).results
        assert (noted.entry, noted.pull_request, noted.ours) == (self._entry, pull.number, True)


SCENES = (
    Publishing,
    LinkingOurModel,
    LinkingTheirModel,
    TakingDown,
    TakingDownTheirs,
    ProposingResult,
)
BY_PULL_REQUEST = (LinkingTheirModel, TakingDownTheirs, ProposingResult)
"""Scenes that leave exactly one pull request; the others leave none."""


def _ignore(_stage: str) -> None:
    """Take a line of progress and do nothing with it."""


def _dataset(run: RunDirectory) -> Repo:
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    return Repo("dataset", dataset_repo_id(ORGANISATION, envelope))


def published_run(world: World, store: Path, model: Repo) -> RunDirectory:
    """Return a run with the receipt of a publication; linking asks for nothing else of it."""
    run = recorded_run(store, model=model.id)
    receipt = Receipt(
        repo_id=_dataset(run).id,
        url=world.hub().page_url(_dataset(run)),
        commit="0" * 40,
        files={},
        content_hash=content_hash(parse_envelope(run.read(RunFile.ENVELOPE))),
        published_at=datetime(2026, 5, 15, tzinfo=UTC),
    )
    run.write(RunFile.PUBLICATION, receipt.model_dump_json().encode())
    return run


def _check_link(scene: Scene, card: bytes) -> None:
    url = Receipt.model_validate_json(scene.run.read(RunFile.PUBLICATION)).url
    linked = BacklinkReceipt.model_validate_json(scene.run.read(RunFile.BACKLINK))
    assert linked.mode != "skipped", linked.reason
    assert check_backlink(scene.world.hub(), linked) is None
    assert compare_cards(CARD, card, url) is None
    assert [item["url"] for item in get_key(card, KEY)] == [url]
