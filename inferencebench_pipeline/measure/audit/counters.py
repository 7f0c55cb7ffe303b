"""The quantities that each family of engines counts in its ``/metrics``, and ours that match.

Names are those of vLLM 0.32 (asked), of llama.cpp's server (asked), and of the documentation of
SGLang and of Text Generation Inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["ms", "tokens", "requests"]


@dataclass(frozen=True)
class Figure:
    """The place of a quantity in a family's metrics, and our quantity that it is held against."""

    name: str
    unit: Unit
    metric: str
    """A histogram for a mean (``_sum`` and ``_count`` are added), else a counter."""
    ours: str | None
    count: str | None = None
    """The counter to divide by, where the metric is no histogram."""
    scale: float = 1.0
    note: str = ""


_S_TO_MS: Final = 1e3
_LLAMA_PREFILL: Final = "computing the prompt only: waiting for a slot and HTTP are in ours"
_LLAMA_DECODE: Final = "generation time of a slot per token, the first one included"
_TGI_ITL: Final = "mean over requests of their mean, ours pools all tokens"

FAMILIES: Final[dict[str, tuple[Figure, ...]]] = {
    "vllm": (
        Figure("TTFT", "ms", "vllm:time_to_first_token_seconds", "ttft", scale=_S_TO_MS),
        Figure("ITL", "ms", "vllm:inter_token_latency_seconds", "itl", scale=_S_TO_MS),
        # The name of the same histogram in older versions.
        Figure("ITL", "ms", "vllm:time_per_output_token_seconds", "itl", scale=_S_TO_MS),
        Figure("E2E latency", "ms", "vllm:e2e_request_latency_seconds", "e2e", scale=_S_TO_MS),
        Figure("queue time", "ms", "vllm:request_queue_time_seconds", None, scale=_S_TO_MS),
        # Counted with the first token, as an answered request is in the traces.
        Figure("answered requests", "requests", "vllm:time_to_first_token_seconds_count", "n"),
        Figure("prompt tokens", "tokens", "vllm:prompt_tokens_total", "prompt"),
        Figure("output tokens", "tokens", "vllm:generation_tokens_total", "output"),
        Figure("prefix cache hits", "tokens", "vllm:prefix_cache_hits_total", None),
    ),
    "sglang": (
        Figure("TTFT", "ms", "sglang:time_to_first_token_seconds", "ttft", scale=_S_TO_MS),
        Figure("ITL", "ms", "sglang:inter_token_latency_seconds", "itl", scale=_S_TO_MS),
        Figure("E2E latency", "ms", "sglang:e2e_request_latency_seconds", "e2e", scale=_S_TO_MS),
        Figure("answered requests", "requests", "sglang:time_to_first_token_seconds_count", "n"),
        Figure("prompt tokens", "tokens", "sglang:prompt_tokens_total", "prompt"),
        Figure("output tokens", "tokens", "sglang:generation_tokens_total", "output"),
        Figure("prefix cache hits", "tokens", "sglang:cached_tokens_total", None),
    ),
    "tgi": (
        Figure("E2E latency", "ms", "tgi_request_duration", "e2e", scale=_S_TO_MS),
        Figure(
            *("ITL", "ms", "tgi_request_mean_time_per_token_duration", "itl"),
            scale=_S_TO_MS,
            note=_TGI_ITL,
        ),
        Figure("queue time", "ms", "tgi_request_queue_duration", None, scale=_S_TO_MS),
        Figure("answered requests", "requests", "tgi_request_duration_count", "n"),
        Figure("output tokens", "tokens", "tgi_request_generated_tokens_sum", "output"),
    ),
    "llama.cpp": (
        Figure(
            *("TTFT", "ms", "llamacpp:prompt_seconds_total", "ttft", "requests"),
            scale=_S_TO_MS,
            note=_LLAMA_PREFILL,
        ),
        Figure(
            *("ITL", "ms", "llamacpp:tokens_predicted_seconds_total", "itl"),
            count="llamacpp:tokens_predicted_total",
            scale=_S_TO_MS,
            note=_LLAMA_DECODE,
        ),
        Figure("prompt tokens", "tokens", "llamacpp:prompt_tokens_total", "prompt"),
        Figure("output tokens", "tokens", "llamacpp:tokens_predicted_total", "output"),
    ),
}
