"""Thousands of mutations of genuine records: none makes the verifier believe anything else.

What a mutation leaves verified must be the very statement that was signed, by the same signer, at
the same place in the log, with the same traces: some bytes of a record state nothing.
"""

from __future__ import annotations

import collections
import sys

import pytest

from inferencebench_pipeline.trust.verify.verdict import Verdict
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.chance import dice
from tests.trust.conftest import World
from tests.trust.mutations import mutation
from tests.trust.records import Signed

SHARDS = 5
PER_SHARD = (
    1000  # for each of the two kinds of log; 10,000 in all, of which a usual run tries one shard
)


def believed(verdict: Verdict) -> tuple[object, ...]:
    """What somebody who trusts the verdict now believes, but for the time."""
    assert verdict.log is not None
    return (verdict.content_hash, verdict.signer, verdict.log.index, verdict.log.log_id)


def times(verdict: Verdict) -> set[str]:
    """The times that trusted clocks gave; taking one clock's word away leaves the other's."""
    (check,) = (item for item in verdict.checks if item.name == "timestamps_verify")
    return set(check.evidence["signed_at"].split(", "))


@pytest.mark.drawn
@pytest.mark.parametrize(
    "shard", [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(1, SHARDS))]
)
def test_no_mutation_is_believed(running_world: World, signed: Signed, shard: int) -> None:
    verifier = EnvelopeVerifier(running_world.trust, running_world.policy)
    organisation = running_world.organisation
    original = verifier.verify(signed.data, organisation=organisation, traces=signed.traces)
    assert original.ok, original.reason
    chance = dice(f"mutation {shard} of {SHARDS}")
    met: collections.Counter[str] = collections.Counter()
    for number in range(PER_SHARD):
        changed = mutation(signed, chance)
        verdict = verifier.verify(changed.data, organisation=organisation, traces=changed.traces)
        what = f"mutation {number} of shard {shard} ({changed.hit})"
        part = changed.hit.split(":")[0]
        if not verdict.ok:
            assert verdict.failure_class is not None, what
            met[f"{part} -> {verdict.failure_class}"] += 1
            continue
        assert believed(verdict) == believed(original), what
        assert times(verdict) <= times(original), what
        assert changed.traces == signed.traces, what
        met[f"{part} -> the same statement"] += 1
    for line, count in sorted(met.items()):
        sys.stdout.write(f"{count:5d}  {line}\n")
    rejected = PER_SHARD - sum(n for line, n in met.items() if line.endswith("the same statement"))
    assert rejected > PER_SHARD * 0.9, met
