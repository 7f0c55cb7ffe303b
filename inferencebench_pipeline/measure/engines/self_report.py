"""The reports of engines about themselves over HTTP; nothing that they omit is filled in.

Each family is asked at its own address: vLLM ``/version`` and ``/server_info``, SGLang
``/get_server_info``, TGI ``/info``, llama.cpp ``/props``. What is recorded of an answer is listed
by name: full answers hold tokens and paths.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.measure.engines.http import Access, ask
from inferencebench_pipeline.measure.provenance.document import Unsaid
from inferencebench_pipeline.measure.spec.stated_parts import Quantization
from inferencebench_pipeline.untrusted import printable

_QUICK_S: Final = 5.0
_SLOW_S: Final = 30.0
"""vLLM's first answer to ``/server_info`` collects its whole environment."""

_VLLM: Final = {
    "model_config": (
        *("dtype", "quantization", "max_model_len", "seed", "enforce_eager", "tokenizer_mode"),
        *("trust_remote_code", "skip_tokenizer_init", "generation_config", "revision"),
    ),
    "cache_config": (
        *("block_size", "cache_dtype", "gpu_memory_utilization", "enable_prefix_caching"),
        "kv_cache_memory_bytes",
    ),
    "parallel_config": (
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
        *("enable_expert_parallel", "distributed_executor_backend"),
    ),
    "scheduler_config": (
        *("max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "policy"),
        "async_scheduling",
    ),
    "device_config": ("device_type",),
}
"""The fields that decide speed, are the same in every run on the same machine, and are no
secret."""
_VLLM_ENVIRONMENT: Final = ("torch_version", "cuda_runtime_version", "vllm_build_flags")
_SGLANG: Final = (
    *("dtype", "quantization", "kv_cache_dtype", "context_length", "revision", "tp_size"),
    *("dp_size", "pp_size", "ep_size", "mem_fraction_static", "max_running_requests"),
    *("chunked_prefill_size", "attention_backend", "disable_radix_cache", "disable_cuda_graph"),
    *("speculative_algorithm", "schedule_policy", "random_seed"),
)
_TGI: Final = (
    *("model_id", "model_sha", "model_dtype", "model_device_type", "max_concurrent_requests"),
    *("max_input_tokens", "max_input_length", "max_total_tokens", "max_batch_total_tokens"),
    *("waiting_served_ratio", "validation_workers", "docker_label", "sha"),
)
_LLAMA: Final = ("total_slots", "model_alias", "build_info")
_MOST_CHARACTERS: Final = 400
"""The longest text of one field. vLLM's build flags are the longest that are known."""
_LARGEST_NUMBER: Final = 2.0**53
"""Beyond it JSON readers disagree about a number (RFC 8785)."""


@dataclass(frozen=True)
class EngineSays:
    """An engine's own words; None where it does not say."""

    name: str | None = None
    version: str | None = None
    revision: str | None = None
    """Commit of the weights on the Hub."""
    dtype: str | None = None
    quantization: str | None = None
    chat_template_sha256: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    unsaid: tuple[Unsaid, ...] = ()


def reported_quantization(says: EngineSays) -> Quantization | None:
    """Return the quantization that an engine tells, or its data type where nothing is quantised."""
    if says.quantization is not None:
        return Quantization(format=says.quantization, method=says.quantization)
    return None if says.dtype is None else Quantization(format=says.dtype, method="none")


def engine_says(root_url: str, access: Access) -> EngineSays:
    """Return the report of the engine at ``root_url`` about itself, whichever family it is of."""
    for family in (_ask_vllm, _ask_sglang, _ask_tgi, _ask_llama):
        said = family(root_url, access)
        if said is not None:
            return said
    reason = "the engine answers none of /version, /get_server_info, /info and /props"
    return EngineSays(
        unsaid=tuple(
            Unsaid(field=name, reason=reason) for name in ("dtype", "chat_template_sha256")
        )
    )


def _ask_vllm(root_url: str, access: Access) -> EngineSays | None:
    version = _text(_object(root_url + "/version", access).get("version"))
    if version is None:
        return None
    info = _object(root_url + "/server_info?config_format=json", access, _SLOW_S)
    resolved = info.get("vllm_config")
    sections = resolved if isinstance(resolved, dict) else {}
    config: dict[str, Any] = {
        section: told
        for section, names in _VLLM.items()
        if (told := _told(sections, section, names))
    }
    if environment := _told(info, "system_env", _VLLM_ENVIRONMENT):
        config["environment"] = environment
    model = config.get("model_config", {})
    template = _object(root_url + "/tokenizer_info", access).get("chat_template")
    unsaid = []
    if not sections:
        unsaid.append(
            Unsaid(
                field="dtype",
                reason="/server_info does not answer: vLLM tells its configuration only with "
                "VLLM_SERVER_DEV_MODE=1",
            )
        )
    if not isinstance(template, str):
        unsaid.append(
            Unsaid(
                field="chat_template_sha256",
                reason="/tokenizer_info does not answer: vLLM tells its chat template only with "
                "--enable-tokenizer-info-endpoint",
            )
        )
    return EngineSays(
        name="vllm",
        version=version,
        revision=_text(model.get("revision")),
        dtype=_dtype(model.get("dtype")),
        quantization=_text(model.get("quantization")),
        chat_template_sha256=_template_sha256(template),
        config=config,
        unsaid=tuple(unsaid),
    )


def _ask_sglang(root_url: str, access: Access) -> EngineSays | None:
    for path in ("/get_server_info", "/server_info"):
        info = _object(root_url + path, access)
        # vLLM has a /server_info as well, so a field of SGLang's own tells the two apart.
        if "mem_fraction_static" in info:
            break
    else:
        return None
    config = _chosen(info, _SGLANG)
    dtype = config.get("dtype")
    return EngineSays(
        name="sglang",
        version=_text(info.get("version")),
        revision=_text(config.get("revision")),
        dtype=None if dtype == "auto" else _dtype(dtype),
        quantization=_text(config.get("quantization")),
        config=config,
        unsaid=(
            *(
                [Unsaid(field="dtype", reason="SGLang says only that it chose it itself (auto)")]
                if dtype in (None, "auto")
                else []
            ),
            Unsaid(field="chat_template_sha256", reason="SGLang does not tell its chat template"),
        ),
    )


def _ask_tgi(root_url: str, access: Access) -> EngineSays | None:
    info = _object(root_url + "/info", access)
    version = _text(info.get("version"))
    if not isinstance(info.get("model_id"), str) or version is None:
        return None
    config = _chosen(info, _TGI)
    return EngineSays(
        name="text-generation-inference",
        version=version,
        revision=_text(config.get("model_sha")),
        dtype=_dtype(config.get("model_dtype")),
        config=config,
        unsaid=(
            Unsaid(field="chat_template_sha256", reason="TGI does not tell its chat template"),
        ),
    )


def _ask_llama(root_url: str, access: Access) -> EngineSays | None:
    props = _object(root_url + "/props", access)
    version = _text(props.get("build_info"))
    if version is None:
        return None
    config = _chosen(props, _LLAMA)
    settings = props.get("default_generation_settings")
    if isinstance(settings, dict):
        config |= _chosen(settings, ("n_ctx",))
    return EngineSays(
        name="llama.cpp",
        version=version,
        chat_template_sha256=_template_sha256(props.get("chat_template")),
        config=config,
        unsaid=(Unsaid(field="dtype", reason="llama.cpp does not tell which type it computes in"),),
    )


def _told(info: Mapping[str, Any], section: str, names: tuple[str, ...]) -> dict[str, Any]:
    content = info.get(section)
    return _chosen(content, names) if isinstance(content, dict) else {}


def _chosen(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return those of ``names`` that can be recorded: short text, and numbers of ordinary size."""
    told = {name: _recorded(content.get(name)) for name in names}
    return {name: value for name, value in told.items() if value is not None}


def _recorded(value: object) -> str | int | float | bool | None:
    if isinstance(value, str):
        return printable(value, _MOST_CHARACTERS)
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _LARGEST_NUMBER:
        return value
    return None


def _text(value: object) -> str | None:
    """Return an engine's name for something, safe to print and to record; None when it is none."""
    return printable(value, _MOST_CHARACTERS) or None if isinstance(value, str) else None


def _dtype(value: object) -> str | None:
    text = _text(value)
    # vLLM names the type as PyTorch prints it.
    return None if text is None else text.removeprefix("torch.") or None


def _template_sha256(template: object) -> str | None:
    if not isinstance(template, str) or not template:
        return None
    # An engine may send half a surrogate pair, which strict UTF-8 refuses.
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()


def _object(url: str, access: Access, timeout_s: float = _QUICK_S) -> dict[str, Any]:
    """Return the JSON object at ``url``; an empty one when there is none that can be read."""
    try:
        answer = ask(url, access, timeout_s)
        content = answer.json() if answer.status == HTTPStatus.OK else None
    # A question that fails leaves its fields null: the engine can be measured all the same.
    except PipelineError:
        return {}
    return content if isinstance(content, dict) else {}
