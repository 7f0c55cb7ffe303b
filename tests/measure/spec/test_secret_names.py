"""Names of secrets, told from names of numbers: real ones of vLLM, SGLang, the Hub and clouds."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.measure.spec.secret_names import is_secret, word_set

SECRETS = word_set("""
HF_TOKEN hf_token HF_TOKENS HF_TOKEN_PATH HF_OIDC_ID_TOKEN HUGGING_FACE_HUB_TOKEN HFToken hfToken
VLLM_API_KEY vllm-api-key VLLM_API_TOKENS S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY NCCL_PASSWORD
AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_ACCESS_KEY_ID AZURE_OPENAI_API_KEY OPENAI_API_KEY
OPENAI_API_KEY_2 apiKey APIKey APIKEY apikey api-key api.key x-api-key ENGINE_KEY MY_KEY KEY TOKEN
SIGSTORE_ID_TOKEN ACTIONS_ID_TOKEN_REQUEST_TOKEN INPUT_TOKEN CI_JOB_TOKEN GITHUB_PAT NPM_TOKEN
PGPASSWORD MYSQL_PWD DAGSTER_POSTGRES_PASSWORD DB_PASSWD SSHPASSWORD REDISCLI_AUTH AUTHTOKEN
DOCKER_AUTH_CONFIG GOOGLE_APPLICATION_CREDENTIALS INFERENCEBENCH_WEBHOOK_SECRET
INFERENCEBENCH_DEV_KEY OAUTH_CLIENT_SECRET SSL_KEY_PASSPHRASE privateKey SIGNING_KEY ACCESS_TOKEN
REFRESH_TOKENS BEARER AUTHORIZATION Cookie CREDENTIALS APITOKEN TOKEN2 TOKEN_1 --api-key --api_key
--hf-token --hf_token --admin-api-key --ssl-keyfile-password --token
""")

NUMBERS = word_set("""
VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE VLLM_MAX_TOKENS SGLANG_USE_AITER_FP8_PER_TOKEN
SGLANG_TEST_STUCK_TOKENIZER SGLANG_TEST_STUCK_DETOKENIZER TOKENIZERS_PARALLELISM
SGLANG_LOG_DECODE_GRAPH_KEY HF_HUB_DISABLE_IMPLICIT_TOKEN MAX_OUTPUT_TOKENS maxTokens maxtokens
AI_INFLIGHT_AVG_TOKENS KG_CONTEXT_TEXT_TOKENS MAX_TOKEN_LEN TOKEN_COUNT tokensPerSecond
VLLM_ATTENTION_BACKEND VLLM_CPU_KVCACHE_SPACE OMP_NUM_THREADS NCCL_IB_PKEY KEYBOARD MONKEY PWD
OLDPWD KMP_AFFINITY VLLM_KEEP_ALIVE_ON_ENGINE_DEATH TORCHINDUCTOR_POST_GRAD_PASS PATH COMPASS AUTHOR
AUTHORS SECRETARY PUBLIC_KEY CACHE_KEY EOS_TOKEN STOP_TOKEN_IDS HF_HUB_OFFLINE TOKENSPEED
--max-num-batched-tokens --max_num_batched_tokens --context-tokens --num-speculative-tokens
--return-tokens-as-token-ids --enable-prompt-tokens-details --long-prefill-token-threshold
--speculative-num-draft-tokens --speculative-token-map --max-total-tokens --max-prefill-tokens
--tokenizer --tokenizer-mode --skip-tokenizer-init --enable-tokenizer-info-endpoint --ssl-keyfile
--dtype --trust-remote-code --gpu-memory-utilization --monkey --passthrough
""")


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_known_by_a_word_of_its_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_number_or_a_switch_is_no_secret(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize("word", ["PASSWORD", "SECRET", "TOKEN", "API_KEY", "CREDENTIALS", "AUTH"])
@pytest.mark.parametrize("prefix", ["HF", "VLLM", "NCCL", "X"])
@pytest.mark.parametrize("suffix", ["", "_FILE", "_2", "_VALUE"])
def test_a_secret_word_is_found_wherever_it_stands(prefix: str, word: str, suffix: str) -> None:
    name = f"{prefix}_{word}{suffix}"
    assert is_secret(name)
    assert is_secret("--" + name.lower().replace("_", "-"))
