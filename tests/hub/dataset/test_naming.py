"""Repository names: always legal on the Hub, the same for the same run, never shared by two."""

from __future__ import annotations

import re

import pytest
from huggingface_hub.utils import validate_repo_id
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.hub.dataset.naming import HubNameError, dataset_repo_id
from inferencebench_pipeline.runs.run_directory import RunIdError, new_run_id
from tests.chance import examples
from tests.hub.records import unsigned_envelope

RUN_ID = "0199c2f4-a1b3-7def-8abc-0123456789ab"
_DOCUMENT = unsigned_envelope(RUN_ID).model_dump()


def named(
    model: str = "org/Model",
    suite: str = "llm.inference",
    run_id: str = RUN_ID,
    organisation: str = "Acme",
) -> str:
    """Return the repository id of an envelope with this model, suite and run."""
    document = _DOCUMENT | {"suite_id": suite, "run_id": run_id}
    document["model"] = document["model"] | {"id": model}
    return dataset_repo_id(organisation, Envelope.model_validate(document))


def test_the_documented_shape() -> None:
    assert named("meta-llama/Llama-4-Maverick") == (
        "Acme/llama-4-maverick__llm-inference__0199c2f4a1b3-456789ab"
    )


def test_the_run_hash_begins_with_the_first_twelve_digits_of_the_run_id() -> None:
    run_hash = named().rpartition("__")[2]
    assert run_hash.startswith(RUN_ID.replace("-", "")[:12])
    assert RUN_ID.endswith(run_hash[-8:])


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct"),
        ("a/b--c__d..e", "b-c-d-e"),
        ("ollama:llama3:70b", "ollama-llama3-70b"),
        ("models/.hidden.", "hidden"),
        ("café", "cafe"),
    ],
)
def test_ordinary_model_ids_stay_readable(model: str, slug: str) -> None:
    assert named(model).removeprefix("Acme/").split("__")[0] == slug


def test_ids_that_lose_characters_do_not_share_a_name() -> None:
    assert named("通义千问-7b") != named("豆包-7b")
    long = "x" * 120
    assert named(long + "a") != named(long + "b")
    assert named("模型").removeprefix("Acme/").split("__")[0]


def test_runs_of_the_same_millisecond_do_not_share_a_name() -> None:
    names = {named(run_id=new_run_id(unix_ms=1_760_000_000_000)) for _ in range(200)}
    assert len(names) == 200


def test_names_sort_by_time() -> None:
    ids = [new_run_id(unix_ms=1_760_000_000_000 + step * 977) for step in range(20)]
    names = [named(run_id=run_id) for run_id in ids]
    assert names == sorted(names)


@settings(max_examples=examples(300))
@given(
    model=st.text(min_size=1, max_size=150).filter(str.strip),
    suite=st.text(min_size=1, max_size=60).filter(str.strip),
)
def test_property_every_name_is_one_the_hub_takes(model: str, suite: str) -> None:
    repo_id = named(model, suite)
    validate_repo_id(repo_id)
    name = repo_id.removeprefix("Acme/")
    assert len(name) <= 96
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name)
    assert len(name.split("__")) == 3
    assert repo_id == named(model, suite)


@pytest.mark.parametrize("organisation", ["", "a/b", "-a", "a--b", "a b", "ü", "a" * 120, ".."])
def test_an_impossible_organisation_is_refused(organisation: str) -> None:
    with pytest.raises(HubNameError, match="INFERENCEBENCH_ORGANISATION"):
        named(organisation=organisation)


def test_a_run_id_that_is_no_uuid7_is_refused() -> None:
    with pytest.raises(RunIdError):
        named(run_id="../../etc")
