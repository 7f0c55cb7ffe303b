"""Variables that reach an engine, that a spec may set, and that enter the record."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.measure.spec.engine_arguments import why_not_an_argument
from inferencebench_pipeline.measure.spec.environment_variables import (
    bundled_engine_environment,
    engine_environment,
    reaches_engines,
    recorded_environment,
    why_not_in_a_spec,
)


@pytest.mark.parametrize(
    ("name", "reaches", "recorded"),
    [
        ("CUDA_VISIBLE_DEVICES", True, True),
        ("VLLM_ATTENTION_BACKEND", True, True),
        ("VLLM_CPU_KVCACHE_SPACE", True, True),
        ("VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE", True, True),
        ("VLLM_DISABLE_COMPILE_CACHE", True, True),
        ("OMP_NUM_THREADS", True, True),
        ("TOKENIZERS_PARALLELISM", True, True),
        ("LD_PRELOAD", True, True),
        ("HF_TOKEN", True, False),
        ("VLLM_API_KEY", True, False),
        ("HF_HOME", True, False),
        ("HF_ENDPOINT", True, False),
        ("VLLM_HOST_IP", True, False),
        ("VLLM_NIXL_SIDE_CHANNEL_HOST", True, False),
        ("HF_HUB_CACHE", True, False),
        ("VLLM_CACHE_ROOT", True, False),
        ("VLLM_XLA_CACHE_PATH", True, False),
        ("PATH", True, False),
        ("https_proxy", True, False),
        ("SIGSTORE_ID_TOKEN", False, False),
        ("INFERENCEBENCH_IDENTITY_TOKEN_FILE", False, False),
        ("INFERENCEBENCH_ENGINE_KEYS", False, False),
        ("AWS_SECRET_ACCESS_KEY", False, False),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", False, False),
        ("DATABASE_URL", False, False),
    ],
)
def test_an_engine_gets_what_it_needs_and_the_record_what_decides_speed(
    name: str, reaches: bool, recorded: bool
) -> None:
    assert reaches_engines(name) == reaches
    environment = engine_environment({name: "value"}, {})
    assert (name in environment) == reaches
    assert (name in recorded_environment(environment)) == recorded


def test_a_folder_of_this_machine_is_not_recorded_whatever_its_variable_is_called() -> None:
    environment = {
        "VLLM_NEW": "/home/me/models",
        "HF_NEW": "http://me:pw@host.test",
        "LD_PRELOAD": "/usr/lib/libtcmalloc.so",
    }
    assert recorded_environment(environment) == {"LD_PRELOAD": "/usr/lib/libtcmalloc.so"}


def test_the_specs_variables_win() -> None:
    found = engine_environment({"OMP_NUM_THREADS": "8"}, {"OMP_NUM_THREADS": "1"})
    assert found == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_ATTENTION_BACKEND", "FLASH_ATTN"),
        ("VLLM_SERVER_DEV_MODE", "0"),
        ("VLLM_CPU_KVCACHE_SPACE", "4"),
        ("VLLM_CPU_OMP_THREADS_BIND", "0-31|32-63"),
        ("VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE", "4096"),
        ("VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS", "2"),
        ("VLLM_USE_FLASHINFER_SAMPLER", "1"),
        ("CUDA_VISIBLE_DEVICES", "0,1"),
        ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        ("OMP_NUM_THREADS", "8"),
        ("NCCL_P2P_LEVEL", "NVL"),
        ("TORCH_CUDA_ARCH_LIST", "9.0"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        ("HF_HUB_OFFLINE", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("SGLANG_USE_AITER_FP8_PER_TOKEN", "1"),
    ],
)
def test_a_spec_may_set_what_decides_speed_and_it_is_recorded(name: str, value: str) -> None:
    assert why_not_in_a_spec(name, value) is None
    assert recorded_environment({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *((name, "/tmp/x.so", "which code") for name in ("LD_PRELOAD", "LD_LIBRARY_PATH")),
        *((name, "/tmp/x", "which code") for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")),
        ("VLLM_PLUGINS", "evil", "which code"),
        ("NCCL_NET_PLUGIN", "evil", "which code"),
        ("NCCL_TUNER_PLUGIN", "libevil.so", "which code"),
        ("OMP_TOOL_LIBRARIES", "/tmp/x.so", "which code"),
        ("HSA_TOOLS_LIB", "/tmp/x.so", "which code"),
        ("SGLANG_EXTERNAL_MODEL_PACKAGE", "evil", "which code"),
        ("VLLM_NCCL_SO_PATH", "/tmp/x.so", "where something is"),
        ("VLLM_LOGGING_CONFIG_PATH", "x.json", "where something is"),
        ("CUDA_INJECTION64_PATH", "x.so", "where something is"),
        ("GGML_BACKEND_PATH", "x.so", "where something is"),
        ("TRITON_PTXAS_PATH", "ptxas", "where something is"),
        ("VLLM_ANYTHING", "/etc/passwd", "where something is"),
        ("HF_HOME", "cache", "where something is"),
        ("PATH", "bin", "where something is"),
        ("TMPDIR", "x", "where something is"),
        ("CC", "evil", "where something is"),
        ("SSL_CERT_FILE", "ca.pem", "where something is"),
        ("HF_ENDPOINT", "http://evil.test", "whom the engine asks"),
        ("HF_INFERENCE_ENDPOINT", "http://evil.test", "whom the engine asks"),
        *((f"{s}_proxy", "http://evil.test", "whom") for s in ("http", "https", "all", "HTTPS")),
        ("HTTPS_PROXY", "http://evil.test", "whom the engine asks"),
        ("VLLM_USAGE_STATS_SERVER", "http://evil.test", "where something is"),
        ("VLLM_HOST_IP", "10.0.0.1", "whom the engine asks"),
        ("VLLM_DP_MASTER_IP", "evil.test", "whom the engine asks"),
        ("VLLM_X\0Y", "1", "not among"),
        ("VLLM_X=Y", "1", "not among"),
        ("VLLM_LOGGING_PREFIX", "a\0b", "cannot be printed"),
        ("VLLM_LOGGING_PREFIX", "a\x1b[2J", "cannot be printed"),
        ("HF_TOKEN", "hf_x", "secret"),
        ("VLLM_API_KEY", "x", "secret"),
        ("AWS_SECRET_ACCESS_KEY", "x", "not among"),
        ("BASH_ENV", "x", "not among"),
        ("GIT_SSH_COMMAND", "x", "not among"),
        ("INFERENCEBENCH_VLLM_PYTHON", "evil", "not among"),
        ("ld_preload", "x", "not among"),
    ],
)
def test_a_spec_may_not_load_code_move_places_or_turn_the_engine_to_another_address(
    name: str, value: str, said: str
) -> None:
    reason = why_not_in_a_spec(name, value)
    assert reason is not None
    assert said in reason or not reaches_engines(name)
    assert value in ("x", "1") or value not in reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    "argument",
    [
        *("--model", "--model=evil/model", "--served_model_name=x", "--revision", "--rev"),
        *("--host=0.0.0.0", "--port", "--uds=/tmp/x", "--config=args.yaml"),
        *("--api-key", "--api_key", "--api_key=x", "--api-k=x", "--API-KEY=x"),
        *("--dtype=a\0b", "a\0b"),
        *("--hf-token", "--hf_token=x", "--hf-tok", "--ssl-keyfile-password=x", "--auth=x"),
    ],
)
def test_an_argument_that_is_ours_or_a_secret_is_refused_however_it_is_spelled(
    argument: str,
) -> None:
    reason = why_not_an_argument(argument)
    assert reason is not None
    assert "=x" not in reason


@pytest.mark.parametrize(
    "argument",
    [
        *("--dtype", "bfloat16", "--max-model-len=8192", "--max-num-batched-tokens", "-tp", "2"),
        *("--model-impl=auto", "--tokenizer-mode", "--return-tokens-as-token-ids", "--ssl-keyfile"),
        *("--long-prefill-token-threshold=1", "--trust-remote-code", "--", ""),
    ],
)
def test_an_argument_that_decides_speed_is_taken(argument: str) -> None:
    assert why_not_an_argument(argument) is None


def test_the_bundled_engine_gets_no_secret() -> None:
    ours = {"HF_TOKEN": "x", "VLLM_API_KEY": "x", "PATH": "/bin", "SIGSTORE_ID_TOKEN": "x"}
    assert bundled_engine_environment(ours) == {"PATH": "/bin"}
