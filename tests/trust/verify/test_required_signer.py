"""The signer whom a reader names: which certificates of GitHub workflows count, and which not."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable

import pytest

from inferencebench_pipeline.envelope import parse_envelope
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.sign.identity_token import parse_token
from inferencebench_pipeline.trust.verify.certificates import NameKind, SignerIdentity
from inferencebench_pipeline.trust.verify.policy import policy_source
from inferencebench_pipeline.trust.verify.required_signer import (
    GITHUB_ISSUER,
    Name,
    RequiredSigner,
    policy_for,
    signer_of_owner,
    signer_of_repository,
)
from tests.envelope.measured import write_measured
from tests.trust.conftest import World
from tests.trust.records import Signed

ACME = "acme/bench/.github/workflows/publish.yml@refs/heads/main"
SHARED = "slsa/builder/.github/workflows/run.yml@refs/tags/v1"

Refusal = Callable[[RequiredSigner, str, str | None], str]


@pytest.fixture(scope="module")
def signed_by(
    running_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str | None], Signed]:
    """Records that workflows on GitHub have signed, as the sandbox plays it."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    run = store.run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)

    @functools.cache
    def signed(workflow: str, repository: str | None) -> Signed:
        fields = {"repository": repository} if repository else {}
        token = running_world.raw_token("", workflow=workflow, **fields)
        signer = running_world.signer(
            identity=lambda: parse_token(token.encode(), where="the test"), policy=None
        )
        envelope = signer.sign(parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE)))
        return Signed(serialise(envelope), run.read(RunFile.TRACES))

    return signed


@pytest.fixture
def refusal(running_world: World, signed_by: Callable[[str, str | None], Signed]) -> Refusal:
    """Return why a record is refused; the empty text when it is accepted."""

    def refused(required: RequiredSigner, workflow: str, repository: str | None) -> str:
        record = signed_by(workflow, repository)
        verdict = running_world.verify(record.data, record.traces, policy=policy_for(required))
        failed = [check.name for check in verdict.checks if check.status == "failed"]
        assert failed == ([] if verdict.ok else ["identity_policy"]), verdict.reason
        return "" if verdict.ok else verdict.reason

    return refused


PUBLISH = Name("https://github.com/slsa/builder/.github/workflows/run.yml@refs/tags/v1")


@pytest.mark.parametrize(
    ("required", "workflow", "repository", "said"),
    [
        (signer_of_owner("acme"), ACME, None, ""),
        (signer_of_repository("acme/bench"), ACME, None, ""),
        (signer_of_owner("acm"), ACME, None, "requires an identity below https://github.com/acm/"),
        (signer_of_owner("acme-evil"), ACME, None, "below https://github.com/acme-evil/"),
        # Names on github.com are the same in any case.
        (signer_of_owner("Acme"), ACME, None, ""),
        (signer_of_repository("ACME/Bench"), ACME, None, ""),
        (signer_of_owner("acme"), ACME.replace("acme", "AcMe"), None, ""),
        (signer_of_owner("Acme"), ACME, "mallory/fork", "owner_uri https://github.com/Acme, it"),
        (signer_of_repository("acme/ben"), ACME, None, "below https://github.com/acme/ben/"),
        (signer_of_repository("acme/other"), ACME, None, "below https://github.com/acme/other/"),
        # acme's reusable workflow, called by a repository of somebody else
        (
            signer_of_owner("acme"),
            ACME,
            "mallory/fork",
            "owner_uri https://github.com/acme, it",
        ),
        (
            signer_of_repository("acme/bench"),
            ACME,
            "acme/fork",
            "_uri https://github.com/acme/bench",
        ),
        # somebody else's reusable workflow, called by a repository of acme
        (signer_of_owner("acme"), SHARED, "acme/bench", "requires an identity below"),
        (signer_of_owner("acme", identity=PUBLISH), SHARED, "acme/bench", ""),
        (signer_of_repository("acme/bench", identity=PUBLISH), SHARED, "acme/bench", ""),
        (signer_of_owner("acme", identity=PUBLISH), SHARED, "mallory/x", "it says https"),
        (signer_of_owner("acme", identity=PUBLISH), ACME, None, "requires the identity"),
    ],
)
def test_an_owner_or_repository_on_github_means_its_own_workflows(
    required: RequiredSigner, workflow: str, repository: str | None, said: str, refusal: Refusal
) -> None:
    found = refusal(required, workflow, repository)
    assert said in found
    assert bool(found) == bool(said)


def named(identity: str, issuer: str, kind: NameKind | None = None) -> SignerIdentity:
    return SignerIdentity(identity, issuer, kind=kind or NameKind.of_text(identity))


@pytest.mark.parametrize(
    ("signer", "said"),
    [
        (named(f"https://github.com/{ACME}", GITHUB_ISSUER), "it says nothing"),
        (
            named(f"https://github.com/{ACME}", f"{GITHUB_ISSUER}/acme"),
            "requires the issuer https://token.actions.githubusercontent.com",
        ),
        (
            named(f"https://github.com.evil.example/{ACME}", GITHUB_ISSUER),
            "requires an identity below https://github.com/acme/",
        ),
        (
            named(f"https://github.com/{ACME}", GITHUB_ISSUER, NameKind.EMAIL),
            "gives that name as an e-mail address, and --owner acme means a URI",
        ),
        (named("\x1b[2Ja@b.org", "x"), r"signed by \x1b[2Ja@b.org (x)"),
    ],
)
def test_what_looks_like_the_owner_is_not(signer: SignerIdentity, said: str) -> None:
    assert said in str(signer_of_owner("acme").refusal(signer))


LOOK_ALIKES = {
    "Kelvin sign": ("kim", "\u212aim"),
    "dotless i": ("kim", "k\u0131m"),
    "dotted capital I": ("kim", "k\u0130m"),
    "long s": ("slsa", "sl\u017fa"),
    "sharp s": ("boss", "bo\u00df"),
    "Cyrillic a": ("acme", "\u0430cme"),
    "full width": ("acme", "\uff41cme"),
}


@pytest.mark.parametrize("kind", LOOK_ALIKES)
@pytest.mark.parametrize("where", ["identity", "claim", "both"])
def test_letters_that_look_or_fold_alike_are_other_names(kind: str, where: str) -> None:
    """Unicode's case folding takes some of these for the name, and nobody's eyes tell the rest."""
    name, like = LOOK_ALIKES[kind]

    def signer(in_identity: str, in_claim: str) -> SignerIdentity:
        return SignerIdentity(
            f"https://github.com/{in_identity}/bench/.github/workflows/x.yml@refs/heads/main",
            GITHUB_ISSUER,
            workflow={"source_repository_owner_uri": f"https://github.com/{in_claim}"},
            kind=NameKind.URI,
        )

    required = signer_of_owner(name)
    assert required.refusal(signer(name.upper(), name.title())) is None
    in_identity = name if where == "claim" else like
    in_claim = name if where == "identity" else like
    assert required.refusal(signer(in_identity, in_claim)) is not None
    with pytest.raises(PolicyError, match="is no name of a user or organisation"):
        signer_of_owner(like)


def test_an_owner_is_asked_for_by_one_digest_however_it_is_spelt() -> None:
    assert signer_of_owner("Acme").sha256 == signer_of_owner("acme").sha256
    assert signer_of_repository("a/B").sha256 == signer_of_repository("A/b").sha256
    assert signer_of_owner("acme").sha256 != signer_of_owner("acm").sha256


def test_a_reusable_workflow_is_named_in_its_exact_spelling() -> None:
    """Files and branches differ by case, even where owners do not."""
    required = signer_of_owner("acme", identity=PUBLISH)
    claims = {"source_repository_owner_uri": "https://github.com/acme"}
    shouted = SignerIdentity(
        PUBLISH.text.upper(), GITHUB_ISSUER, workflow=claims, kind=NameKind.URI
    )
    assert "requires the identity" in str(required.refusal(shouted))


@pytest.mark.parametrize(
    "owner",
    ["", "acme/bench", "https://github.com/acme", "-a", "a" * 40, "acme.", "acme/", "a b", "acmé"],
)
def test_a_name_that_nobody_on_github_has_is_refused(owner: str) -> None:
    with pytest.raises(PolicyError, match="is no name of a user or organisation"):
        signer_of_owner(owner)


@pytest.mark.parametrize(
    "repository", ["", "acme", "acme/", "/bench", "acme/..", "a/b/c", "acme/b c", "acme/bench/"]
)
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(PolicyError, match="write OWNER/REPO"):
        signer_of_repository(repository)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (r"https://github\.com/acme/.*", f"https://github.com/{ACME}", True),
        (r"https://github\.com/acme", f"https://github.com/{ACME}", False),
        (r"acme/.*", f"https://github.com/{ACME}", False),
        (r"https://github\.com/acme/.*", f"https://evil.example/https://github.com/{ACME}", False),
        (r"^.*@acme\.org$", "bench@acme.org", True),
        (r"^.*@acme\.org$", "bench@acme.org.evil.example", False),
        (r".*@acme\.org", "bench@acme.org\nx", False),
    ],
)
def test_an_expression_must_match_the_whole_name(pattern: str, name: str, matches: bool) -> None:
    assert Name.pattern(pattern).matches(name) is matches


@pytest.mark.parametrize("pattern", [".*", ".+", "https://.*", r".*@.*", r"(?i)[^ ]+", "a|.*"])
def test_an_expression_that_accepts_everybody_is_refused(pattern: str) -> None:
    with pytest.raises(PolicyError, match="so it names nobody"):
        Name.pattern(pattern)


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)a", "a" * 2_000])
def test_an_expression_that_cannot_be_matched_in_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(PolicyError, match="regular expression"):
        Name.pattern(pattern)


def test_the_digest_is_of_what_is_required_and_the_origin_says_who_asked() -> None:
    first, again = signer_of_owner("acme"), signer_of_owner("acme")
    assert policy_for(first).sha256 == policy_for(again).sha256
    others = [
        signer_of_owner("acme2"),
        signer_of_repository("acme/bench"),
        signer_of_owner("acme", identity=PUBLISH),
        RequiredSigner(asked="x", issuer=Name(GITHUB_ISSUER), identity=Name("acme")),
        RequiredSigner(asked="x", issuer=Name(GITHUB_ISSUER), identity=Name.pattern("acme")),
    ]
    assert len({required.sha256 for required in (first, *others)}) == 6
    assert policy_source(policy_for(first)).name == "--owner acme"


def test_a_reviewed_policy_keeps_its_digest_when_a_signer_narrows_it(world: World) -> None:
    narrowed = policy_for(signer_of_owner("acme"), world.policy)
    assert narrowed.sha256 == world.policy.sha256
    assert narrowed.origin == f"{world.policy.origin}, and --owner acme"
    copied = pickle.loads(pickle.dumps(narrowed))
    assert copied.origin == narrowed.origin


def test_a_policy_and_the_signer_that_narrows_it_must_both_agree(
    world: World, signed_by: Callable[[str, str | None], Signed]
) -> None:
    record = signed_by(ACME, None)
    narrowed = policy_for(signer_of_owner("acme"), world.policy)
    verdict = world.verify(record.data, record.traces, policy=narrowed)
    assert not verdict.ok
    assert f"https://github.com/{ACME} ({GITHUB_ISSUER}) may not sign for" in verdict.reason
    assert narrowed.pinned_keys(organisation=None, suite_id="any") == []


def test_whoever_names_only_a_signer_has_reviewed_no_policy(world: World) -> None:
    assert world.policy.reviewed_sha256 == world.policy.sha256
    required = signer_of_owner("acme")
    assert policy_for(required).reviewed_sha256 is None
    assert policy_for(required, world.policy).reviewed_sha256 == world.policy.sha256
