"""Prompts and arrivals: drawn by seed, the same for ever, different where they must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inferencebench_pipeline.measure.client.conversations import ConversationPacer
from inferencebench_pipeline.measure.client.pacing import ClosedPacer, OpenPacer
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.workloads.items import Item
from inferencebench_pipeline.measure.workloads.making import as_it_is
from inferencebench_pipeline.measure.workloads.recipe import Recipe, recipe_of
from inferencebench_pipeline.measure.workloads.request_plan import RequestPlan
from tests.measure.support import spec_for

URL = "http://127.0.0.1:1/v1"
SPEC = spec_for(URL)
RUN_A, RUN_B = "01900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000b"


def recipe(spec: BenchmarkSpec = SPEC) -> Recipe:
    return recipe_of(spec.workload, spec.seed)


def plan(spec: BenchmarkSpec = SPEC, run_id: str = RUN_A, repeat: int = 1) -> RequestPlan:
    return RequestPlan.of(spec, run_id, as_it_is(recipe(spec)), repeat)


def salted(salt: str, **changes: Any) -> BenchmarkSpec:
    return spec_for(URL, workload={"max_tokens": 5, "salt": salt, **changes})


def test_the_builtin_prompts_are_many_and_distinct() -> None:
    items = recipe(spec_for(URL, workload={"prompts": 32})).items
    assert len({item.messages[0].text for item in items}) == 32
    assert len({item.id for item in items}) == 32


def test_the_seed_decides_which_prompts_are_drawn() -> None:
    assert recipe() == recipe()
    assert recipe().items != recipe(SPEC.model_copy(update={"seed": 43})).items


def test_two_runs_send_the_same_workload_in_bytes_no_cache_has_seen() -> None:
    plans = [plan(), plan(run_id=RUN_B), plan(repeat=2)]
    bodies = [plan.body(index) for plan in plans for index in range(100)]
    assert len(set(bodies)) == 300
    assert len({len(plan.body(0)) for plan in plans}) == 1


def test_the_workload_is_the_same_for_two_models_and_two_load_points() -> None:
    """What is compared on the leaderboard is models and loads; only the questions must agree."""
    other_model = spec_for(URL, model={"id": "someone/else"})
    load = {"kind": "open", "rate_per_s": 7, "requests": 90}
    other_load = spec_for(URL, load=load)
    other_answer = spec_for(URL, workload={"max_tokens": 6})
    workload = recipe().identity_sha256
    assert recipe(other_model).identity_sha256 == workload
    assert recipe(other_load).identity_sha256 == workload
    assert recipe(other_answer).identity_sha256 != workload
    assert recipe(salted("run")).identity_sha256 != workload
    assert b"someone/else" in plan(other_model).body(0)


def test_the_workload_hash_never_changes_silently() -> None:
    """A released spec must mean the same questions in every version of this package."""
    assert recipe().identity_sha256[:16] == "eece0940d50a5a19"


def test_the_salt_decides_what_a_prefix_cache_can_share() -> None:
    def beginnings(salt: str, repeat: int = 1, run_id: str = RUN_A) -> set[bytes]:
        spec = salted(salt)
        asked = plan(spec, run_id, repeat)
        return {
            asked.body(n).split(b'"content":"')[1].split(b"]")[0] + b"]"
            for n in range(2)
            if b"[" in asked.body(n).split(b'"content":"')[1][:1]
        }

    assert len(beginnings("request")) == 2
    assert len(beginnings("run")) == 1
    assert beginnings("run") != beginnings("run", repeat=2) != beginnings("run", run_id=RUN_B)
    assert beginnings("none") == set()


def test_the_completions_api_gets_a_prompt_and_chat_gets_messages() -> None:
    workload = SPEC.workload.model_copy(update={"api": "completions", "ignore_eos": False})
    body = plan(SPEC.model_copy(update={"workload": workload})).body(0)
    assert b'"prompt":' in body
    assert b'"messages":' not in body
    assert b"ignore_eos" not in body


def test_turns_share_the_salt_of_their_conversation_and_not_that_of_its_next_round() -> None:
    spec = salted("conversation")
    first, second = recipe(spec).items[:2]
    turns: tuple[Item, ...] = (first, replace(second, conversation=first.conversation))
    workload = replace(as_it_is(recipe(spec)), items=turns)
    asked = RequestPlan.of(spec, RUN_A, workload)
    assert asked.conversation_lengths == (2,)
    salts = [asked.body(n).split(b"[")[2].split(b"]")[0] for n in range(4)]
    assert salts[0] == salts[1] != salts[2] == salts[3]


def test_a_turn_is_sent_after_the_answer_to_the_one_before_it() -> None:
    pacer = ConversationPacer(ClosedPacer(concurrency=2, warmup=0, measured=8), [3, 1])
    sent: list[tuple[int, int]] = []

    def send() -> None:
        due = pacer.take(0)
        assert due is not None
        sent.append((due.index, pacer.item(due.index)))

    send()
    send()
    assert sent == [(0, 0), (1, 3)]
    pacer.ended(0, "measured", 1)  # the first turn of the first conversation is answered
    send()
    assert sent[-1] == (2, 1)
    pacer.ended(1, "measured", 2)  # the second conversation had one turn: the first comes again
    send()
    assert sent[-1] == (3, 4)
    pacer.ended(2, "measured", 3)
    send()
    assert sent[-1] == (4, 2)


def test_the_closed_pacer_holds_its_concurrency_through_every_phase() -> None:
    pacer = ClosedPacer(concurrency=3, warmup=2, measured=4)
    in_flight = []
    phases = []
    now = 0
    while True:
        while (due := pacer.take(now)) is not None:
            in_flight.append(due)
            phases.append(due.phase)
        if not in_flight:
            break
        if pacer.next_ns() is None and len(in_flight) < 3:
            assert phases.count("measured") == 4
        now += 10
        ended = in_flight.pop(0)
        pacer.ended(ended.index, ended.phase, now)
    assert phases[:6] == ["warmup"] * 2 + ["measured"] * 4
    assert phases[6:] == ["drained"] * 2


def test_one_hanging_request_does_not_cost_endless_others() -> None:
    pacer = ClosedPacer(concurrency=2, warmup=0, measured=5)
    assert pacer.take(0).index == 0  # it never ends
    others = 0
    while (due := pacer.take(others)) is not None:
        others += 1
        pacer.ended(due.index, due.phase, others)
    assert others == 9


def test_the_open_pacer_waits_for_nothing_but_the_clock() -> None:
    pacer = OpenPacer([0, 100, 100, 250], warmup=1)
    assert (pacer.take(0).phase, pacer.take(0)) == ("warmup", None)
    assert pacer.next_ns() == 100
    assert [pacer.take(120).scheduled_ns, pacer.take(120).scheduled_ns] == [100, 100]
    assert pacer.take(120) is None
    assert pacer.take(1000).index == 3
    assert pacer.next_ns() is None
