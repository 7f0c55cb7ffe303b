"""What engines say about themselves over HTTP; nothing that they do not say is filled in.

Each family is asked at its own address: vLLM ``/version`` and ``/server_info``, SGLang
``/get_server_info``, TGI ``/info``, llama.cpp ``/props``. What is recorded of an answer is listed
by name: full answers hold tokens and paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inferencebench_pipeline.measure.engines.running import Access, ask, sha256_text
from inferencebench_pipeline.measure.provenance import Unsaid

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
"""What decides speed, is the same in every run on the same machine, and is no secret."""
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


def engine_says(root_url: str, access: Access) -> EngineSays:
    """Return what the engine at ``root_url`` says about itself, whichever family it is of."""
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
    version = _object(root_url + "/version", access).get("version")
    if not isinstance(version, str):
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
        revision=model.get("revision"),
        dtype=_dtype(model.get("dtype")),
        quantization=model.get("quantization"),
        chat_template_sha256=_template_sha256(template),
        config=config,
        unsaid=tuple(unsaid),
    )


def _ask_sglang(root_url: str, access: Access) -> EngineSays | None:
    for path in ("/get_server_info", "/server_info"):
        info = _object(root_url + path, access)
        if "mem_fraction_static" in info:
            break
    else:
        return None
    config = _chosen(info, _SGLANG)
    dtype = config.get("dtype")
    version = info.get("version")
    return EngineSays(
        name="sglang",
        version=version if isinstance(version, str) else None,
        revision=config.get("revision"),
        dtype=None if dtype == "auto" else _dtype(dtype),
        quantization=config.get("quantization"),
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
    if not isinstance(info.get("model_id"), str) or not isinstance(info.get("version"), str):
        return None
    config = _chosen(info, _TGI)
    return EngineSays(
        name="text-generation-inference",
        version=info["version"],
        revision=config.get("model_sha"),
        dtype=_dtype(config.get("model_dtype")),
        config=config,
        unsaid=(
            Unsaid(field="chat_template_sha256", reason="TGI does not tell its chat template"),
        ),
    )


def _ask_llama(root_url: str, access: Access) -> EngineSays | None:
    props = _object(root_url + "/props", access)
    if not isinstance(props.get("build_info"), str):
        return None
    config = _chosen(props, _LLAMA)
    settings = props.get("default_generation_settings")
    if isinstance(settings, dict):
        config |= _chosen(settings, ("n_ctx",))
    return EngineSays(
        name="llama.cpp",
        version=props["build_info"],
        chat_template_sha256=_template_sha256(props.get("chat_template")),
        config=config,
        unsaid=(Unsaid(field="dtype", reason="llama.cpp does not tell which type it computes in"),),
    )


def _told(info: Mapping[str, Any], section: str, names: tuple[str, ...]) -> dict[str, Any]:
    content = info.get(section)
    return _chosen(content, names) if isinstance(content, dict) else {}


def _chosen(content: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: content[name]
        for name in names
        if isinstance(content.get(name), str | int | float | bool)
    }


def _dtype(value: object) -> str | None:
    return value.removeprefix("torch.") if isinstance(value, str) else None


def _template_sha256(template: object) -> str | None:
    return sha256_text(template) if isinstance(template, str) and template else None


def _object(url: str, access: Access, timeout_s: float = _QUICK_S) -> dict[str, Any]:
    try:
        answer = ask(url, access, timeout_s)
    except OSError:
        return {}
    return answer.content if answer.status == 200 and isinstance(answer.content, dict) else {}
