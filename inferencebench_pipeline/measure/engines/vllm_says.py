"""What a vLLM server says about itself over HTTP: version, resolved configuration, template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from inferencebench_pipeline.measure.engines.running import ask, sha256_text
from inferencebench_pipeline.measure.provenance import Unsaid

_TIMEOUT_S: Final = 30.0
"""Its first answer to ``/server_info`` collects the whole environment."""

_TOLD: Final = {
    "model_config": (
        *("dtype", "quantization", "max_model_len", "seed", "enforce_eager", "tokenizer_mode"),
        *("trust_remote_code", "skip_tokenizer_init", "generation_config"),
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
"""What of its resolved configuration is recorded: what decides speed, is the same in every run
on the same machine, and is no secret (the full answer holds the Hub token)."""
_ENVIRONMENT: Final = ("torch_version", "cuda_runtime_version", "vllm_build_flags")


@dataclass(frozen=True)
class WhatVllmSays:
    """The server's own words; None where it does not say."""

    version: str | None
    served_model: str | None
    dtype: str | None
    quantization: str | None
    chat_template_sha256: str | None
    config: dict[str, Any]
    unsaid: tuple[Unsaid, ...]


def ask_vllm(root_url: str, api_key_env: str | None) -> WhatVllmSays:
    """Return what the server at ``root_url`` says; nothing it does not say is filled in."""
    version = _object(root_url + "/version", api_key_env).get("version")
    info = _object(root_url + "/server_info?config_format=json", api_key_env)
    resolved = info.get("vllm_config")
    resolved = resolved if isinstance(resolved, dict) else {}
    config: dict[str, Any] = {
        section: told
        for section, names in _TOLD.items()
        if (told := _chosen(resolved.get(section), names))
    }
    environment = _chosen(info.get("system_env"), _ENVIRONMENT)
    if environment:
        config["environment"] = environment
    template = _object(root_url + "/tokenizer_info", api_key_env).get("chat_template")
    model = config.get("model_config", {})
    dtype = model.get("dtype")
    unsaid = []
    if not resolved:
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
    return WhatVllmSays(
        version=version if isinstance(version, str) else None,
        served_model=_served(root_url, api_key_env),
        dtype=dtype.removeprefix("torch.") if isinstance(dtype, str) else None,
        quantization=model.get("quantization"),
        chat_template_sha256=sha256_text(template) if isinstance(template, str) else None,
        config=config,
        unsaid=tuple(unsaid),
    )


def _served(root_url: str, api_key_env: str | None) -> str | None:
    """Return the name it serves its model by, when that is one model."""
    models = _object(root_url + "/v1/models", api_key_env).get("data")
    if isinstance(models, list) and len(models) == 1 and isinstance(models[0], dict):
        name = models[0].get("id")
        return name if isinstance(name, str) else None
    return None


def _chosen(section: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(section, dict):
        return {}
    return {
        name: section[name]
        for name in names
        if isinstance(section.get(name), str | int | float | bool)
    }


def _object(url: str, api_key_env: str | None) -> dict[str, Any]:
    try:
        answer = ask(url, api_key_env, _TIMEOUT_S)
    except OSError:
        return {}
    return answer.content if answer.status == 200 and isinstance(answer.content, dict) else {}
