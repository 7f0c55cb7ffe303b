"""Bundles spelt in every odd way: one reading of them, one verdict, and never an exception.

The mutations are of the text of a bundle, which nobody signs. What comes of each is the same from
a verifier that has seen the signer before and from one that has not, and the pass over a corpus
that holds all of them ends.
"""

from __future__ import annotations

import base64
import json
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import DayVerdicts
from inferencebench_pipeline.corpus.verification import verify_days
from inferencebench_pipeline.corpus.verifier import PolicyJudge
from inferencebench_pipeline.trust.verify.verdict import Verdict
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.chance import dice, examples
from tests.corpus.world import FolderHub
from tests.trust.conftest import World
from tests.trust.records import Signed, encode, with_bundle

MUTATIONS: Final = 240
_NUMBERS: Final = ("NaN", "-Infinity", "1e999", "1" + "0" * 5000, "-0", "1.5", "true", "null")
_TEXTS: Final = ("", "\ud800", "\u0664", "\x00", "=", "A" * 5, "x" * 70_000, "1_0", " 1 ", "+1")


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def respelt(value: Any) -> Any:
    if isinstance(value, dict):
        return {snake(name): respelt(item) for name, item in value.items()}
    return [respelt(item) for item in value] if isinstance(value, list) else value


def places(text: str) -> list[re.Match[str]]:
    """Every member of an object whose value is a string."""
    return list(re.finditer(r'"(\w+)": ("(?:[^"\\]|\\.)*")', text))


def respell(text: str, chance: random.Random) -> str:
    names = sorted({item[1] for item in re.finditer(r'"(\w+)":', text)})
    name = chance.choice(names)
    spelt = chance.choice([snake(name), name.upper(), name.capitalize(), escaped(name)])
    return text.replace(f'"{name}":', f'"{spelt}":')


def escaped(name: str) -> str:
    return f"\\u{ord(name[0]):04x}{name[1:]}"


def repeat(text: str, chance: random.Random) -> str:
    at = chance.choice(list(re.finditer(r'[{,] ?"(\w+)": ', text)))
    name = chance.choice([at[1], snake(at[1]), escaped(at[1])])
    value = chance.choice(["1", "{}", '"x"', "[]", "null"])
    return f'{text[: at.start() + 1]}"{name}": {value}, {text[at.start() + 1 :]}'


def retype(text: str, chance: random.Random) -> str:
    at = chance.choice(places(text))
    value = chance.choice([*_NUMBERS, "{}", "[]", f"[{at[2]}]", at[2].strip('"')])
    return text[: at.start(2)] + value + text[at.end(2) :]


def reword(text: str, chance: random.Random) -> str:
    at = chance.choice(places(text))
    value = json.dumps(chance.choice(_TEXTS) + chance.choice(["", json.loads(at[2])]))
    return text[: at.start(2)] + value + text[at.end(2) :]


def deepen(text: str, chance: random.Random) -> str:
    levels = chance.choice([1, 60, 70, 2_000, 100_000])
    at = chance.choice(places(text))
    return f"{text[: at.start(2)]}{'[' * levels}{at[2]}{']' * levels}{text[at.end(2) :]}"


def swell(text: str, chance: random.Random) -> str:
    blanks = " " * chance.choice([10, 10_000, 1 << 20])
    return chance.choice([text + blanks, text[:-1] + f', "x": "{blanks}"' + "}", blanks + text])


def blot(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(["\x00", "\ufeff", "}", "\\", '"', ""]) + text[at + 1 :]


KINDS: Final[tuple[Callable[[str, random.Random], str], ...]] = (
    respell,
    repeat,
    retype,
    reword,
    deepen,
    swell,
    blot,
)


def rewritten(signed: Signed, text: str) -> bytes:
    document = signed.document
    data = text.encode("utf-8", "surrogatepass")
    document["signature"]["bundle"] = base64.b64encode(data).decode()
    return encode(document)


def bundle_text(signed: Signed) -> str:
    return json.dumps(json.loads(base64.b64decode(signed.document["signature"]["bundle"])))


def mutations(signed: Signed, count: int, chance: random.Random) -> dict[str, bytes]:
    """Return records by what was done to each; each kind of mutation has its turn."""
    text, found = bundle_text(signed), {}
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        found[f"{number}: {kind.__name__}"] = rewritten(signed, kind(text, chance))
    return found


def judged(verdict: Verdict) -> tuple[object, ...]:
    """The content of a verdict, but for the words: those of the two ways differ."""
    failed = [item.name for item in verdict.checks if item.status == "failed"]
    passed = [item for item in verdict.checks if item.status == "passed"]
    return (
        verdict.outcome,
        verdict.failure_class,
        failed,
        [item.name for item in passed] if failed else passed,
        verdict.content_hash,
        verdict.signer,
        verdict.log,
        verdict.signed_at,
    )


def test_no_spelling_raises_or_depends_on_what_was_seen_before(
    running_world: World, signed: Signed
) -> None:
    world, where = running_world, running_world.organisation
    warm = EnvelopeVerifier(world.trust, world.policy)
    genuine = warm.prove(signed.data, organisation=where, traces=None)
    assert genuine.checkpoint is not None
    accepted = 0
    for what, data in mutations(signed, examples(MUTATIONS), dice("spellings")).items():
        long = EnvelopeVerifier(world.trust, world.policy).prove(
            data, organisation=where, traces=None
        )
        short = warm.prove(data, organisation=where, traces=None)
        assert isinstance(short.verdict, Verdict), what
        assert judged(short.verdict) == judged(long.verdict), what
        assert short.checkpoint == long.checkpoint, what
        if short.verdict.signature_holds:
            accepted += 1
            assert short.checkpoint == genuine.checkpoint, what
            assert short.verdict.log == genuine.verdict.log, what
        else:
            assert short.checkpoint is None, what
    assert accepted > 0, "protobuf's two spellings of a name are both a bundle"


@pytest.mark.parametrize("spelling", [snake, str.upper])
def test_protobufs_original_names_are_read_by_everybody_and_no_others(
    running_world: World, signed: Signed, spelling: Callable[[str], str]
) -> None:
    text = json.dumps(respelt(json.loads(bundle_text(signed))))
    if spelling is str.upper:
        text = re.sub(r'"(\w+)":', lambda item: f'"{item[1].upper()}":', text)
    proven = EnvelopeVerifier(running_world.trust, running_world.policy).prove(
        rewritten(signed, text), organisation=running_world.organisation, traces=signed.traces
    )
    assert proven.verdict.ok == (spelling is snake), proven.verdict.reason
    assert (proven.checkpoint is not None) == proven.verdict.ok


def test_a_key_twice_is_refused_in_both_spellings_and_in_one(
    running_world: World, signed: Signed
) -> None:
    text = bundle_text(signed)
    for name in ("verificationMaterial", "verification_material", "\\u0076erificationMaterial"):
        twice = text.replace("{", f'{{"{name}": {{}}, ', 1)
        verdict = running_world.verify(rewritten(signed, twice), signed.traces)
        assert not verdict.ok
        assert verdict.reason.startswith("bundle_format: ")


def test_the_pass_over_a_corpus_of_such_bundles_ends(
    running_world: World, signed: Signed, tmp_path: Path
) -> None:
    where, hub = running_world.organisation, FolderHub(tmp_path / "hub")
    found = mutations(signed, examples(len(KINDS) * 6), dice("spellings in a corpus"))
    snakes = json.dumps(respelt(json.loads(bundle_text(signed))))
    nan = signed.data.replace(b'"seed": ', b'"seed2": NaN, "seed": ')
    found |= {"snake": rewritten(signed, snakes), "nan": nan, "genuine": signed.data}
    for number, data in enumerate(found.values()):
        files = {"envelope.json": data, "traces.parquet": signed.traces}
        hub.commit(f"{where}/r-{number:04d}", files)
    store = CorpusStore(tmp_path / "store")
    crawl_source(hub, where, store)

    days = verify_days(
        store, created_days(store), PolicyJudge(running_world.trust, running_world.policy)
    )

    assert sum(day.verified + day.rejected for day in days) == len(found)
    kept = {item.repo_id: item for day in days for item in DayVerdicts.load(store, day.day).entries}
    by_name = dict(zip(found, (kept[f"{where}/r-{n:04d}"] for n in range(len(found))), strict=True))
    assert by_name["genuine"].verdict.ok
    assert by_name["snake"].checkpoint == by_name["genuine"].checkpoint is not None
    assert not by_name["nan"].verdict.ok


def test_a_padded_certificate_costs_no_memory_afterwards(
    running_world: World, signed: Signed
) -> None:
    verifier = EnvelopeVerifier(running_world.trust, running_world.policy)
    document, many = signed.document, 12
    pem = document["signature"]["certificate"]

    def padded(number: int) -> bytes:
        document["signature"]["certificate"] = f"{number} {'x' * (1 << 20)}\n{pem}\n"
        return encode(document)

    where = running_world.organisation
    assert verifier.verify(padded(0), organisation=where, traces=None).signature_holds
    tracemalloc.start()
    try:
        for number in range(1, many):
            verifier.verify(padded(number), organisation=where, traces=None)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 << 20, f"{held:,} bytes are held of {many} certificates"


def test_another_certificate_beside_or_instead_is_refused(
    running_world: World, signed: Signed
) -> None:
    pem = signed.document["signature"]["certificate"]
    lines = pem.split("\n")
    # Bytes that differ in the text and not in the certificate are the same certificate.
    forms = {"\r\n".join(lines): True, f"{pem}\n{pem}": False, pem.replace("A", "B", 1): False}
    for text, is_it in forms.items():
        document = signed.document
        document["signature"]["certificate"] = text
        verdict = running_world.verify(encode(document), signed.traces)
        assert verdict.ok == is_it, verdict.reason
        if not is_it:
            assert verdict.reason.startswith("envelope_names_certificate: ")


def test_the_genuine_bundle_is_the_one_that_is_mutated(signed: Signed) -> None:
    assert json.loads(with_bundle(signed, lambda _: None)) == json.loads(
        rewritten(signed, bundle_text(signed))
    )
