"""The options that say whose signature to believe: every combination, and what comes of it."""

from __future__ import annotations

import itertools

import pytest

from inferencebench_pipeline.cli.policy.signer_options import SignerOptionError, SignerOptions
from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.verify.required_signer import GITHUB_ISSUER

VALUES = {
    "owner": "acme",
    "repo": "acme/bench",
    "identity": "bench@acme.org",
    "identity_regexp": r".*@acme\.org",
    "issuer": "https://accounts.acme.org",
    "issuer_regexp": r"https://accounts\.acme\.(org|net)",
}
GOOD = {
    (): None,
    ("owner",): "--owner acme",
    ("repo",): "--repo acme/bench",
    ("owner", "identity"): "--owner acme",
    ("owner", "identity_regexp"): "--owner acme",
    ("repo", "identity"): "--repo acme/bench",
    ("repo", "identity_regexp"): "--repo acme/bench",
    ("identity", "issuer"): (
        "--certificate-identity bench@acme.org --certificate-oidc-issuer https://accounts.acme.org"
    ),
    ("identity", "issuer_regexp"): (
        "--certificate-identity bench@acme.org "
        r"--certificate-oidc-issuer /^https://accounts\.acme\.(org|net)$/"
    ),
    ("identity_regexp", "issuer"): (
        r"--certificate-identity /^.*@acme\.org$/ "
        "--certificate-oidc-issuer https://accounts.acme.org"
    ),
    ("identity_regexp", "issuer_regexp"): (
        r"--certificate-identity /^.*@acme\.org$/ "
        r"--certificate-oidc-issuer /^https://accounts\.acme\.(org|net)$/"
    ),
}
ALL = [names for count in range(len(VALUES) + 1) for names in itertools.combinations(VALUES, count)]


def options(*names: str) -> SignerOptions:
    return SignerOptions(**{name: VALUES[name] for name in names})  # type: ignore[arg-type]


@pytest.mark.parametrize("names", GOOD, ids="+".join)
def test_a_good_combination_names_one_signer(names: tuple[str, ...]) -> None:
    required = options(*names).required()
    assert (None if required is None else required.asked) == GOOD[names]
    if required is not None and names[0] in ("owner", "repo"):
        assert str(required.issuer) == GITHUB_ISSUER
        assert (required.below is None) == (len(names) > 1)


@pytest.mark.parametrize("names", [names for names in ALL if names not in GOOD], ids="+".join)
def test_every_other_combination_is_refused_with_a_sentence(names: tuple[str, ...]) -> None:
    with pytest.raises(SignerOptionError) as caught:
        options(*names).required()
    said = str(caught.value)
    assert "exclude each other" in said or "options lack" in said or "issuer is fixed" in said


@pytest.mark.parametrize("name", VALUES)
def test_an_empty_value_names_nobody(name: str) -> None:
    with pytest.raises((SignerOptionError, PolicyError)) as caught:
        SignerOptions(**{name: ""}).required()  # type: ignore[arg-type]
    assert "is empty; name whom you believe" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"owner": "https://github.com/acme"}, "write the name alone"),
        ({"repo": "acme"}, "write OWNER/REPO"),
        ({"identity_regexp": ".*", "issuer": "x"}, "so it names nobody"),
        ({"identity": "a@b.org", "issuer_regexp": ".*"}, "so it names nobody"),
        ({"identity_regexp": r"(a)\1", "issuer": "x"}, "cannot be used as a regular expression"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(value: dict[str, str], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        SignerOptions(**value).required()  # type: ignore[arg-type]
