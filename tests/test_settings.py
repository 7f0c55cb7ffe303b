"""The settings: their defaults, the sentences about wrong values, and the page that lists them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from inferencebench_pipeline.settings import OTHER_VARIABLES, Settings, SettingsError
from tests.paths import PACKAGE, REPOSITORY

NAME = re.compile(r"INFERENCEBENCH_[A-Z_]+|HF_ENDPOINT|HF_TOKEN(_PATH)?")
NO_SETTING = {
    "INFERENCEBENCH_PARENT_PID",  # set by the pipeline for its own children
    "INFERENCEBENCH_ENVELOPE_VERIFIED",  # a word in a signed statement
}
READERS = {
    "automation/instance/webserver/server.py",  # runs without the rest of the package
    "hub/webhooks.py",  # the webhook's secret, in a process without a deployment
    "measure/child_process.py",  # the process id of a child's parent
    "measure/engines/embedded.py",  # the environment that an engine is started with
    "measure/engines/vllm.py",  # the environment that an engine is started with
    "measure/spec/engine_keys.py",  # the key in the variable that a spec names
    "settings.py",
    "trust/sign/identity_token.py",  # the variable that sigstore itself defines
}
"""Files that may read the environment, and why."""


def files() -> list[str]:
    """The files of the package but those of its annexes, which a deployment does not have."""
    names = (str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
    return sorted(name for name in names if name.partition("/")[0] not in {"sandbox", "demo"})


def named_in(file: str) -> set[str]:
    """The variables that are a string constant of their own in a file."""
    tree = ast.walk(ast.parse((PACKAGE / file).read_text()))
    return {
        node.value
        for node in tree
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and NAME.fullmatch(node.value)
    }


def test_everything_has_a_default_and_an_empty_variable_is_none():
    settings = Settings.from_environment({})
    assert settings == Settings.from_environment(dict.fromkeys(Settings.variables().values(), ""))
    assert settings.home == Path(".inferencebench").absolute()
    assert settings.store == settings.home / "store"
    assert settings.specs == REPOSITORY / "specs"
    assert settings.hub_endpoint == "https://huggingface.co"
    assert (settings.outage_retries, settings.outage_wait_s) == (2, 30.0)
    assert (settings.update_model_card, settings.open_pull_requests) == (False, False)
    assert settings.identity_token_command == ()


def test_paths_are_absolute_words_are_split_and_the_endpoint_has_no_slash(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = Settings.from_environment(
        {
            "INFERENCEBENCH_HOME": "state",
            "INFERENCEBENCH_POLICY": "~/policy.yaml",
            "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND": "spiffe 'two words'",
            "HF_ENDPOINT": "http://127.0.0.1:8000/",
            "INFERENCEBENCH_UPDATE_MODEL_CARD": "1",
        }
    )
    assert settings.home == tmp_path / "state"
    assert settings.policy == Path("/home/somebody/policy.yaml")
    assert settings.identity_token_command == ("spiffe", "two words")
    assert settings.hub_endpoint == "http://127.0.0.1:8000"
    assert settings.update_model_card


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("UPDATE_MODEL_CARD", "maybe", "='maybe' is neither 1 nor 0"),
        ("OUTAGE_RETRIES", "two", "='two' is not a whole number"),
        ("OUTAGE_RETRIES", "-1", "='-1' must be a finite number of zero or more"),
        ("OUTAGE_WAIT_S", "soon", "='soon' is not a number"),
        ("OUTAGE_WAIT_S", "inf", "='inf' must be a finite number of zero or more"),
        ("OUTAGE_WAIT_S", "-3", "='-3' must be a finite number of zero or more"),
        ("IDENTITY_TOKEN_COMMAND", "print 's3cret", " cannot be used: No closing quotation"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(name: str, value: str, said: str):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({f"INFERENCEBENCH_{name}": value})
    assert str(caught.value) == f"INFERENCEBENCH_{name}{said}"
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"


def test_two_wrong_values_are_both_named():
    wrong = {"INFERENCEBENCH_OUTAGE_RETRIES": "x", "INFERENCEBENCH_OUTAGE_WAIT_S": "y"}
    with pytest.raises(SettingsError, match=r"RETRIES='x' .*; .*WAIT_S='y'"):
        Settings.from_environment(wrong)


def test_the_page_of_settings_lists_each_variable_that_the_package_names():
    named = set().union(*(named_in(file) for file in files()))
    known = set(Settings.variables().values()) | set(OTHER_VARIABLES)
    assert named - NO_SETTING == known
    rows = re.findall(r"^\| (`[A-Z].*?) \|", (REPOSITORY / "docs/settings.md").read_text(), re.M)
    assert set(re.findall(r"`([A-Z_]+)`", " ".join(rows))) == known


@pytest.mark.parametrize(("variable", "file"), sorted(OTHER_VARIABLES.items()))
def test_a_variable_outside_the_settings_is_named_by_the_file_that_the_table_names(variable, file):
    assert variable in named_in(file)


def test_no_other_file_reads_the_environment():
    reading = {
        file
        for file in files()
        for node in ast.walk(ast.parse((PACKAGE / file).read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert reading == READERS
