"""A webserver that others can reach starts without secrets, whatever their variables are called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.automation.instance.webserver import exposed_secrets
from inferencebench_pipeline.automation.instance.webserver.environment import ALLOWED_VARIABLE
from inferencebench_pipeline.measure.spec import secret_names
from inferencebench_pipeline.measure.spec.secret_names import is_secret
from tests.chance import examples

PUBLIC = "0.0.0.0"
SECRETS = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "SIGSTORE_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "INFERENCEBENCH_ALERTS",
    "INFERENCEBENCH_HEARTBEAT_URL",
    "INFERENCEBENCH_DEV_KEY",
    "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND",
    "INFERENCEBENCH_IDENTITY_TOKEN_FILE",
    "INFERENCEBENCH_WEBHOOK_SECRET",
    "INFERENCEBENCH_WEBHOOK_SECRET_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "VLLM_API_KEY",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "CI_JOB_TOKEN",
    "NPM_TOKEN",
    "TWINE_PASSWORD",
    "PGPASSWORD",
    "PGPASSFILE",
    "MYSQL_PWD",
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "SENTRY_DSN",
    "SLACK_WEBHOOK_URL",
    "DAGSTER_CLOUD_API_TOKEN",
    "COSIGN_PASSWORD",
    "COSIGN_PRIVATE_KEY",
    "SSH_PRIVATE_KEY",
    "SSH_KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "KEY",
    "SECRET_KEY_BASE",
    "DOCKER_AUTH_CONFIG",
    "MY_CREDS",
    "KEY_PASSPHRASE",
    "TOKEN2",
    "TOKEN_2",
    "api_key",
    "hfToken",
    "OPENAI_APIKEY",
    "NODE_AUTHTOKEN",
    "ARTIFICIAL_ANALYSIS_API_KEY",
    "S3_SECRET",
    "API_TOKENS",
    "SESSION_COOKIE",
    "PROXY_AUTHORIZATION",
    "PUBLIC_API_KEY",
]
NO_SECRETS = {
    "VLLM_MAX_TOKENS": "x",
    "MAX_NEW_TOKENS": "256",
    "OUTPUT_TOKENS": "128",
    "MAX_BATCHED_TOKENS": "8192",
    "PREFETCH_KEYS": "100",
    "TOKENIZERS_PARALLELISM": "false",
    "TOKENIZER": "gpt2",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "REQUIRE_PASSWORD": "yes",
    # Python's own images say with it whose signature the release bears.
    "GPG_KEY": "A035C8C19219BA821ECEA86B64E628F8D684696D",
    "COSIGN_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----",
    "SSH_AUTH_SOCK": "/run/user/0/agent",
    "SSH_ASKPASS": "/usr/bin/ssh-askpass",
    "GNOME_KEYRING_CONTROL": "/run/user/0/keyring",
    "XKB_KEYMAP": "de",
    "KEYBOARD_LAYOUT": "de",
    "MONKEY": "x",
    "COMPASS": "x",
    "PASSENGER_APP_ENV": "production",
    "SECRETARY": "x",
    "PWD": "/opt/dagster",
    "OLDPWD": "/",
    "PATH": "/usr/bin",
    "HOME": "/root",
    "HOSTNAME": "ui",
    "TOKEN_SERVICE_HOST": "10.0.0.1",
    "SECRET_STORE_PORT_443_TCP": "tcp://10.0.0.1:443",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "HF_ENDPOINT": "https://huggingface.co",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "GIT_URL": "ssh://git@example.org/x",
    "INFERENCEBENCH_UI_HOSTS": "ui.example.org",
    "DAGSTER_POSTGRES_HOST": "db",
    "DAGSTER_POSTGRES_USER": "dagster",
    # It reads runs and events from the database.
    "DAGSTER_POSTGRES_PASSWORD": "x",
    "HF_TOKEN": "",
}
SECRET_VALUES = [
    "postgresql://dagster:pw@db:5432/dagster",
    "http://user:pw@proxy.example:3128",
    "redis://:pw@cache:6379/0",
    "mailtos://user:app-password@gmail.com",
    "https://host/path?sig=abc&se=2026",
    "https://host/?api_key=abc",
    "host=db user=dagster password=pw",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=abc==",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
    "hf_" + "a" * 34,
    "ghp_" + "a" * 36,
    "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
    "AKIA" + "A" * 16,
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_told_by_the_words_of_its_name(name: str) -> None:
    assert exposed_secrets(PUBLIC, {name: "x"}) == [name]
    assert exposed_secrets("::", {name: "x"}) == [name]
    assert exposed_secrets("127.0.0.1", {name: "x"}) == []


@pytest.mark.parametrize("name", NO_SECRETS)
def test_what_only_looks_like_one_does_not_stop_the_webserver(name: str) -> None:
    assert exposed_secrets(PUBLIC, {name: NO_SECRETS[name]}) == []


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_a_secret_is_told_by_its_look_under_any_name(value: str) -> None:
    assert exposed_secrets(PUBLIC, {"SOME_SETTING": value}) == ["SOME_SETTING"]
    assert exposed_secrets(PUBLIC, {"DATABASE_URL": value}) == ["DATABASE_URL"]


WORDS = st.sampled_from(["ACME", "PROD", "S3", "DB", "MY", "SERVICE", "V2", "FILE", "VALUE", "HUB"])
SECRET_WORD = st.sampled_from(
    ["TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "CREDENTIALS", "DSN"]
)
ENGINES_WORDS = sorted(
    secret_names._ALWAYS
    | secret_names._KEYS
    | secret_names._TOKENS
    | secret_names._COUNTED
    | secret_names._COUNTED_IF_MANY
    | {"PUBLIC", "PAT", "PGPASSWORD", "AUTHTOKEN"}
)


@given(before=st.lists(WORDS, max_size=3), word=SECRET_WORD, after=st.lists(WORDS, max_size=2))
def test_a_name_of_tomorrow_is_told_too(before: list[str], word: str, after: list[str]) -> None:
    name = "_".join([*before, word, *after])
    assert exposed_secrets(PUBLIC, {name: "x"}) == [name]


@given(st.text(max_size=30), st.text(max_size=200))
def test_any_environment_is_judged_without_an_error(name: str, value: str) -> None:
    assert exposed_secrets(PUBLIC, {name: value}) in ([], [name])


@settings(max_examples=examples(1_000))
@given(st.lists(WORDS | SECRET_WORD | st.sampled_from(ENGINES_WORDS), min_size=1, max_size=4))
def test_what_an_engine_may_not_be_given_is_a_secret_here_too(words: list[str]) -> None:
    """The guard stands alone and has words of its own; they are no fewer than the engines'."""
    name = "_".join(words)
    if is_secret(name):
        assert exposed_secrets(PUBLIC, {name: "x"}) == [name]


def test_a_long_value_is_judged_in_no_time() -> None:
    assert exposed_secrets(PUBLIC, {"LS_COLORS": "a" * 200_000}) == []
    assert exposed_secrets(PUBLIC, {"X": "eyJ" + "a-" * 100_000}) == []
    assert exposed_secrets(PUBLIC, {"X": "://?" * 5_000}) == []


def test_an_operator_may_allow_what_dagster_itself_needs_but_no_secret_of_ours() -> None:
    environment = {
        "AWS_SECRET_ACCESS_KEY": "x",
        "HF_TOKEN": "x",
        "INFERENCEBENCH_UI_ALLOWED_VARIABLES": "AWS_SECRET_ACCESS_KEY, HF_TOKEN",
    }
    assert exposed_secrets(PUBLIC, environment) == ["HF_TOKEN"]


SECRET_WORDS = [
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "COOKIES",
    "DSN",
    "JWT",
    "NETRC",
    "OAUTH",
    "PAT",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
    "KEY",
    "KEYS",
    "PASS",
    "PASSCODE",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PASSWORDS",
    "PWD",
    "ACCESSKEY",
    "APIKEY",
    "APIKEYS",
    "AUTHKEY",
    "PRIVATEKEY",
    "SECRETKEY",
    "SIGNINGKEY",
]
ENDINGS = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
]
COUNTING = [
    "AVG",
    "BATCHED",
    "BUDGET",
    "COUNT",
    "INPUT",
    "LIMIT",
    "MAX",
    "MEAN",
    "MIN",
    "NEW",
    "NUM",
    "OUTPUT",
    "PREFILL",
    "PROMPT",
    "SPECULATIVE",
    "TOTAL",
]
SWITCHING = ["ALLOW", "DISABLE", "DISABLED", "ENABLE", "ENABLED", "NO", "REQUIRE", "USE", "VERIFY"]
OURS = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "INFERENCEBENCH_ALERTS",
    "INFERENCEBENCH_DEV_KEY",
    "INFERENCEBENCH_HEARTBEAT_URL",
    "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND",
    "SIGSTORE_ID_TOKEN",
    "INFERENCEBENCH_IDENTITY_TOKEN_FILE",
    "INFERENCEBENCH_WEBHOOK_SECRET",
    "INFERENCEBENCH_WEBHOOK_SECRET_FILE",
]


@pytest.mark.parametrize("word", SECRET_WORDS)
def test_each_word_of_a_secret_is_known_alone_and_among_others(word: str) -> None:
    for name in (f"ACME_{word}", f"ACME_{word}_FILE", f"{word}_OF_ACME"):
        assert exposed_secrets(PUBLIC, {name: "x"}) == [name]
    assert exposed_secrets(PUBLIC, {f"ACME{word}S_X": "x"}) in ([], [f"ACME{word}S_X"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_ending_of_a_word_is_known(ending: str) -> None:
    assert exposed_secrets(PUBLIC, {f"ACME{ending}": "x"}) == [f"ACME{ending}"]


@pytest.mark.parametrize("pair", ["CONNECTION_STRING", "WEBHOOK_URL", "SAS_URL"])
def test_each_pair_of_words_is_known(pair: str) -> None:
    assert exposed_secrets(PUBLIC, {f"ACME_{pair}": "x"}) == [f"ACME_{pair}"]
    assert exposed_secrets(PUBLIC, {f"ACME_{pair.replace('_', '_X_')}": "x"}) == []


@pytest.mark.parametrize("word", COUNTING)
def test_each_counting_word_makes_tokens_pieces_of_text_and_nothing_else(word: str) -> None:
    assert exposed_secrets(PUBLIC, {f"ACME_{word}_TOKENS": "x"}) == []
    assert exposed_secrets(PUBLIC, {f"ACME_{word}_TOKEN": "x"}) == [f"ACME_{word}_TOKEN"]
    assert exposed_secrets(PUBLIC, {f"ACME_{word}_SECRETS": "x"}) == [f"ACME_{word}_SECRETS"]


@pytest.mark.parametrize("word", SWITCHING)
def test_each_switching_word_needs_the_value_of_a_switch(word: str) -> None:
    name = f"ACME_{word}_PASSWORD"
    for value in ("0", "1", "true", "False", "YES", "no", "on", "off"):
        assert exposed_secrets(PUBLIC, {name: value}) == []
    assert exposed_secrets(PUBLIC, {name: "hunter2"}) == [name]
    assert exposed_secrets(PUBLIC, {"ACME_PASSWORD": "true"}) == ["ACME_PASSWORD"]


@pytest.mark.parametrize("name", OURS)
def test_no_operator_can_allow_a_secret_of_the_pipeline(name: str) -> None:
    assert name in exposed_secrets(PUBLIC, {name: "x", ALLOWED_VARIABLE: name})


def test_an_operator_can_allow_any_other_variable_by_its_whole_name() -> None:
    environ = {"ACME_TOKEN": "x", "ACME_TOKEN_2": "x"}
    assert exposed_secrets(PUBLIC, environ | {ALLOWED_VARIABLE: " ACME_TOKEN ,"}) == [
        "ACME_TOKEN_2"
    ]
