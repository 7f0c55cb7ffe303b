"""A repository's name is compared with the record inside: what it says of it must be so."""

from __future__ import annotations

from typing import Any

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.models import Envelope, FingerprintGpu
from inferencebench_pipeline.hub.dataset.name_comparison import place_differences
from inferencebench_pipeline.hub.dataset.naming import dataset_name
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.chance import dice, examples
from tests.corpus.world import record

RUN_ID = "0199c2f4-a1b3-7def-8abc-0123456789ab"
ENVELOPE = parse_envelope(record(RUN_ID, "acme/one")["envelope.json"])
"""Of example/tiny with llama.cpp on a CPU, on 2026-05-15."""
GPU = FingerprintGpu(model="NVIDIA H100 80GB HBM3", pci_id="1", serial="1", vbios="1")


def of(model: str = "example/tiny", *, run_id: str = RUN_ID) -> Envelope:
    document: dict[str, Any] = ENVELOPE.model_dump()
    document["model"]["id"] = model
    return Envelope.model_validate({**document, "run_id": run_id})


def on_gpus() -> Envelope:
    """The record as one of eight H100; its fingerprint is not computed again, nor asked for."""
    hardware = ENVELOPE.hardware_fingerprint
    changed = hardware.model_copy(update={"gpus": [GPU] * 8})
    return ENVELOPE.model_copy(update={"hardware_fingerprint": changed})


def said(name: str, envelope: Envelope = ENVELOPE) -> list[str]:
    return list(place_differences(f"acme/{name}", envelope))


@pytest.mark.parametrize(
    ("name", "envelope"),
    [
        (dataset_name(ENVELOPE), ENVELOPE),
        (dataset_name(ENVELOPE).upper(), ENVELOPE),
        *((name, ENVELOPE) for name in ("a", "one", "run-17", "results", "no-traces", "b2", "r1m")),
        ("tiny-2026-05", ENVELOPE),
        ("tiny-2026-05-15", ENVELOPE),
        ("tiny-20260515", ENVELOPE),
        ("llama.cpp-on-cpu", ENVELOPE),
        ("llama-3.1-405b", of("meta-llama/Llama-3.1-405B-Instruct")),
        ("mixtral-8x22b", of("mistralai/Mixtral-8x22B-v0.1")),
        ("qwen3-0.6b", of("Qwen/Qwen3-0.6B")),
        ("qwen2.5-vl-72b", of("Qwen/Qwen2.5-VL-72B")),
        ("tiny-h100", on_gpus()),
        ("tiny-8xh100-80gb", on_gpus()),
        ("marathon-3", of(run_id="not-a-uuid")),
    ],
)
def test_a_name_that_is_true_or_says_nothing_is_not_accused(name: str, envelope: Envelope) -> None:
    assert said(name, envelope) == []


@pytest.mark.parametrize(
    ("name", "envelope", "told"),
    [
        # The engine of that record is llama.cpp, so that word alone is no lie.
        ("llama-405b-h100-2026-11", ENVELOPE, ["a model of 405b", "not on h100", "in 2026-11"]),
        ("tiny-405b", ENVELOPE, ["not of a model of 405b"]),
        ("qwen3-8b", of("Qwen/Qwen3-0.6B"), ["not of a model of 8b"]),
        ("mixtral-8x22b-mi300x", ENVELOPE, ["a model of 8x22b", "not of mixtral", "not on mi300x"]),
        ("tiny-b200", on_gpus(), ["NVIDIA H100 80GB HBM3, not on b200"]),
        ("tiny-8xb200", on_gpus(), ["not on b200"]),
        ("vllm-tiny", ENVELOPE, ["not with vllm"]),
        ("deepseek_v3", ENVELOPE, ["not of deepseek"]),
        ("tiny-20261101", ENVELOPE, ["on 2026-05-15, not in 20261101"]),
        ("405b", of(run_id="not-a-uuid"), ["not of a model of 405b"]),
    ],
)  # fmt: skip
def test_what_a_name_says_and_is_not_so_is_told(
    name: str, envelope: Envelope, told: list[str]
) -> None:
    sentences = said(name, envelope)
    assert len(sentences) == len(told)
    for text in told:
        assert any(text in sentence for sentence in sentences), sentences


def test_a_name_in_our_form_is_the_records_in_each_part() -> None:
    """An old run's record in the place of another run, or of another model's."""
    chance = dice("places")
    models = ("example/tiny", "meta-llama/Llama-3.1-405B", "Qwen/Qwen3-0.6B", "a/b.c_d")
    for _ in range(examples(40)):
        one, other = (of(chance.choice(models), run_id=new_run_id()) for _ in range(2))
        assert said(dataset_name(one), one) == []
        sentences = said(dataset_name(one), other)
        assert any("gives the run as" in sentence for sentence in sentences)
        assert any("the model as" in text for text in sentences) == (one.model.id != other.model.id)
