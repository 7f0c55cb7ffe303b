"""Prompts and arrivals: drawn by seed, the same for ever, different where they must be."""

from __future__ import annotations

from inferencebench_pipeline.measure.client.pacing import ClosedPacer, OpenPacer
from inferencebench_pipeline.measure.workload import RequestPlan, load_prompt_set
from tests.measure.support import spec_for

SPEC = spec_for("http://127.0.0.1:1/v1")
RUN_A, RUN_B = "01900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000b"


def test_the_builtin_prompts_are_many_and_distinct() -> None:
    prompts = load_prompt_set("builtin:chat-short").prompts
    assert len(prompts) >= 32
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    assert len({prompt.id for prompt in prompts}) == len(prompts)


def test_the_seed_decides_which_prompts_are_drawn() -> None:
    first = RequestPlan.of(SPEC, RUN_A).prompts
    assert first == RequestPlan.of(SPEC, RUN_B).prompts
    assert first != RequestPlan.of(SPEC.model_copy(update={"seed": 43}), RUN_A).prompts


def test_two_runs_send_the_same_workload_in_bytes_no_cache_has_seen() -> None:
    first, second = RequestPlan.of(SPEC, RUN_A), RequestPlan.of(SPEC, RUN_B)
    assert first.sha256() == second.sha256()
    bodies = [plan.body(index) for plan in (first, second) for index in range(100)]
    assert len(set(bodies)) == 200
    assert len({len(plan.body(0)) for plan in (first, second)}) == 1


def test_the_workload_is_the_same_for_two_models_and_two_load_points() -> None:
    """What is compared on the leaderboard is models and loads; only the questions must agree."""
    other_model = spec_for("http://127.0.0.1:1/v1", model={"id": "someone/else"})
    load = {"kind": "open", "rate_per_s": 7, "requests": 90}
    other_load = spec_for("http://127.0.0.1:1/v1", load=load)
    other_answer = spec_for("http://127.0.0.1:1/v1", workload={"max_tokens": 6})
    workload = RequestPlan.of(SPEC, RUN_A).sha256()
    assert RequestPlan.of(other_model, RUN_A).sha256() == workload
    assert RequestPlan.of(other_load, RUN_A).sha256() == workload
    assert RequestPlan.of(other_answer, RUN_A).sha256() != workload
    assert b"someone/else" in RequestPlan.of(other_model, RUN_A).body(0)


def test_the_completions_api_gets_a_prompt_and_chat_gets_messages() -> None:
    workload = SPEC.workload.model_copy(update={"api": "completions", "ignore_eos": False})
    body = RequestPlan.of(SPEC.model_copy(update={"workload": workload}), RUN_A).body(0)
    assert b'"prompt":' in body
    assert b'"messages":' not in body
    assert b"ignore_eos" not in body


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
