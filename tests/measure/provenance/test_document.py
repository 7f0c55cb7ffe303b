"""Provenance: real values, envelope constraints, and a warning for whatever is unknown."""

from __future__ import annotations

import hashlib
import re

import pytest

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.engines.http import sha256_json
from inferencebench_pipeline.measure.provenance.document import UNKNOWN, Gpu
from inferencebench_pipeline.measure.provenance.host import (
    collect_host,
    hardware_class,
    parse_nvidia_smi,
)
from inferencebench_pipeline.measure.provenance.software import (
    collect_software,
    installed_distributions_sha256,
)
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.workloads.recipe import recipe_of
from tests.measure.support import ignore_progress, spec_for

NVIDIA_SMI_Q = """
==============NVSMI LOG==============

Driver Version                            : 570.86.15
CUDA Version                              : 12.8

Attached GPUs                             : 2
GPU 00000000:1A:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    Serial Number                         : 1650123456789
    VBIOS Version                         : 96.00.99.00.01
    BAR1 Memory Usage
        Total                             : 131072 MiB
        Used                              : 1 MiB

GPU 00000000:1B:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    Serial Number                         : N/A
    VBIOS Version                         : 96.00.99.00.01
    BAR1 Memory Usage
        Total                             : 131072 MiB
        Used                              : 1 MiB
"""


def test_a_runs_provenance_holds_real_hashes_and_warns_of_all_that_is_unknown(fake, run) -> None:
    engine = fake()
    spec = spec_for(engine.base_url)
    run_benchmark(spec, run, on_progress=ignore_progress)
    found = Capture(run).provenance()
    assert found.dataset.hash == recipe_of(spec.workload, spec.seed).dataset_sha256
    assert found.engine.config_hash == sha256_json(found.engine.config)
    assert found.software.pip_freeze_hash == installed_distributions_sha256()
    hashes = re.findall(r"\b[0-9a-f]{64}\b", found.model_dump_json())
    assert len(hashes) >= 4
    assert "0" * 64 not in hashes
    assert found.model.revision == UNKNOWN
    for field in ("model.revision", "hardware.memory.channels"):
        assert any(field in warning for warning in found.warnings)
    assert not any(warning == "host" for warning in found.warnings)


def test_the_endpoint_hash_depends_on_the_url_alone(fake, run) -> None:
    engine = fake()
    run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    expected = hashlib.sha256(engine.base_url.encode()).hexdigest()
    assert Capture(run).provenance().model.endpoint_hash == expected


def test_this_host_is_described_without_privileges() -> None:
    facts = collect_host()
    hardware = facts.value.hardware
    assert hardware.cpu.model
    unknown = any("hardware.memory.channels is unknown" in warning for warning in facts.warnings)
    assert hardware.memory.channels == 1 or not unknown
    for name, value in (("dmi_uuid", hardware.dmi_uuid), ("bios.version", hardware.bios.version)):
        warned = any(f"hardware.{name}" in warning for warning in facts.warnings)
        assert (value == UNKNOWN) == warned


def test_nvidia_smi_is_read_gpu_by_gpu() -> None:
    warnings: list[str] = []
    found = parse_nvidia_smi(NVIDIA_SMI_Q, warnings)
    assert (found.driver, found.cuda) == ("570.86.15", "12.8")
    assert [gpu.pci_id for gpu in found.gpus] == ["00000000:1a:00.0", "00000000:1b:00.0"]
    assert found.gpus[0].model == "NVIDIA H100 80GB HBM3"
    assert found.gpus[1].serial == UNKNOWN
    assert warnings == ["hardware.gpus[00000000:1B:00.0].serial is unknown: not in nvidia-smi -q"]
    assert found.resizable_bar


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA B200", "b200"),
    ],
)
def test_the_hardware_class_is_the_gpus_short_name(model, expected) -> None:
    assert hardware_class((Gpu(model=model, pci_id="0", serial="1", vbios="2"),)) == expected
    assert hardware_class(()) == "cpu"


def test_the_commit_is_that_of_our_checkout_or_unknown_with_a_reason() -> None:
    found = collect_software("")
    commit = found.value.git_commit
    assert re.fullmatch(r"[0-9a-f]{40}", commit) or (commit == UNKNOWN and found.warnings)
