"""Leaderboards of any size for the pages: plausible numbers, several groups, every state."""

from __future__ import annotations

import hashlib
import math
import random
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from inferencebench_pipeline.corpus.blobs import BlobStore
from inferencebench_pipeline.leaderboard.document import (
    Change,
    Column,
    EvaluationRow,
    FindingRow,
    Front,
    FrontPoint,
    Group,
    Leaderboard,
    MetricCell,
    MetricSpread,
    RunDetails,
    RunRow,
    TakedownRow,
    Variance,
    VarianceLevel,
    WithheldRow,
)
from inferencebench_pipeline.leaderboard.site.site import write_site
from inferencebench_pipeline.measure.metrics.compute import DEFINITIONS, METRIC_DEFINITIONS_VERSION
from inferencebench_pipeline.measure.run.trace_writer import ValidityFlag
from inferencebench_pipeline.trust.verify.verdict import (
    Check,
    CheckStatus,
    Outcome,
    Verdict,
    VerifiedSigner,
)

ORG = "example-org"
_MODELS = (
    ("meta-llama/Llama-3.1-8B-Instruct", 1.0),
    ("Qwen/Qwen2.5-7B-Instruct", 1.05),
    ("mistralai/Mistral-7B-Instruct-v0.3", 1.1),
    ("google/gemma-2-9b-it", 0.85),
    ("microsoft/Phi-3.5-mini-instruct", 1.7),
    ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 3.1),
    ("meta-llama/Llama-3.1-70B-Instruct", 0.18),
    ("Qwen/Qwen2.5-32B-Instruct", 0.33),
    ("allenai/OLMo-2-1124-7B-Instruct", 0.98),
    ("tiiuae/Falcon3-7B-Instruct", 1.02),
)
_ENGINES = (
    ("vllm", ("0.10.2", "0.11.0", "0.12.1")),
    ("llama.cpp", ("b6912", "b7021")),
    ("sglang", ("0.5.4",)),
)
_HARDWARE = (
    ("1 × NVIDIA H100 80GB HBM3", "datacenter-gpu", 1, 1.0),
    ("8 × NVIDIA H100 80GB HBM3", "datacenter-gpu", 8, 7.1),
    ("1 × NVIDIA A100-SXM4-80GB", "datacenter-gpu", 1, 0.52),
    ("1 × NVIDIA L4", "datacenter-gpu", 1, 0.11),
    ("1 × NVIDIA GeForce RTX 4090", "consumer-gpu", 1, 0.38),
    ("AMD EPYC 9554 64-Core Processor", "cpu", None, 0.02),
)
_QUANTIZATIONS = (None, None, "safetensors fp8", "safetensors awq-int4", "gguf Q4_K_M")
_SUITES = (
    ("chat-throughput", "sharegpt-v3", "chat: TTFT 500 ms, TPOT 50 ms"),
    ("rag-long-context", "multi-hop-32k", "rag: TTFT 2000 ms, TPOT 50 ms"),
    ("code-completion", "humaneval-prompts", None),
)
_UNRANKED = ("rejected", "invalid", "duplicate", "traces_missing", "vanished", "unverified")
_KEYS = (
    "ttft_p50_ms",
    "ttft_p95_ms",
    "tpot_p50_ms",
    "e2e_p50_ms",
    "output_tok_per_s",
    "error_rate",
)


def row_id(repo_id: str) -> str:
    return hashlib.sha256(repo_id.encode()).hexdigest()[:16]


def columns() -> tuple[Column, ...]:
    known = [DEFINITIONS[key] for key in _KEYS]
    return tuple(
        Column(key=it.key, label=it.label, unit=it.unit, definition=it.definition, better=it.better)
        for it in known
    )


def board_of(
    count: int, *, seed: int = 1, groups: int = 3, ranked_share: float = 0.94
) -> Leaderboard:
    """A board with ``count`` published runs, most of them in the first group."""
    chance = random.Random(seed)
    runs = sorted(
        (_run(chance, at, groups, ranked_share) for at in range(count)), key=lambda row: row.repo_id
    )
    made = tuple(
        _group(
            at, [row for row in runs if row.group_id == _group_id(at) and row.state == "verified"]
        )
        for at in range(groups)
    )
    states: dict[str, int] = {}
    for row in runs:
        states[row.state] = states.get(row.state, 0) + 1
    return Leaderboard(
        states=dict(sorted(states.items())),
        groups=tuple(group for group in made if group.rows),
        changes=_changes(runs),
        variances=_variances(runs),
        findings=tuple(
            FindingRow(
                repo_id=row.repo_id,
                row_id=row.row_id,
                kind="signature_invalid",
                severity="error",
                revision=row.revision,
                detail=row.state_reason or "",
                seen_at="2026-11-20T02:00:00Z",
            )
            for row in runs
            if row.state == "rejected"
        )[:200],
        evaluations=(_evaluation(),),
        withheld=(
            WithheldRow(
                **_evaluation().model_dump(exclude={"tier", "state"}),
                tier="withheld",
                state="withheld",
                withheld_at="2026-11-03T10:00:00Z",
                withheld_by="the author",
                withheld_url="https://huggingface.co/example/model/discussions/4",
            ),
        ),
        takedowns=(
            TakedownRow(
                target="example/withdrawn-model",
                reason="asked by the author",
                requested_by="example",
                requested_at="2026-10-01T08:00:00Z",
                carried_out_at="2026-10-01T08:05:00Z",
                outcome=("card restored",),
            ),
        ),
        runs=tuple(runs),
    )


@dataclass(frozen=True)
class BoardDetails:
    """Every run's details, made up from its row; ``asked`` collects for whom."""

    board: Leaderboard
    asked: list[str]

    def __call__(self, repo_ids: Collection[str]) -> Iterator[RunDetails]:
        self.asked.extend(repo_ids)
        wanted = set(repo_ids)
        return (details_of(row) for row in self.board.runs if row.repo_id in wanted)


def site_of(board: Leaderboard, folder: Path) -> Path:
    """Render a board and return its front page."""
    return write_site(
        folder / "site", board, BoardDetails(board, []), BlobStore(folder / "no-blobs")
    )


def details_of(row: RunRow) -> RunDetails:
    """What a run's page shows."""
    ok = row.state in ("verified", "duplicate", "invalid")
    return RunDetails(
        run=row,
        metrics=tuple(
            cell.model_copy(update={"definitions": METRIC_DEFINITIONS_VERSION})
            for cell in (*row.metrics, *_percentiles(row))
        ),
        validity=(
            ValidityFlag(name="clock", ok=True, severity="error", detail="monotone"),
            ValidityFlag(name="steady_state", ok=False, severity="warn", detail="7 % drift"),
        ),
        provenance={"Model": {"id": row.model_id or "", "revision": row.model_revision or ""}},
        verdict=Verdict(
            content_hash=row.content_hash,
            ok=ok,
            outcome=Outcome.VERIFIED if ok else Outcome.REJECTED,
            reason="every check passed" if ok else "the signature is over other bytes",
            checks=(
                Check(
                    name="content_hash",
                    status=CheckStatus.PASSED if ok else CheckStatus.FAILED,
                    detail="the canonical body hashes to what was signed",
                    evidence={"sha256": "ab" * 32},
                ),
                Check(name="traces", status=CheckStatus.SKIPPED, detail="not asked for"),
            ),
            signer=VerifiedSigner(method="keyless", identity="ci@example.org", issuer="https://i"),
            policy_sha256="0f" * 32,
            trust_root_sha256="1e" * 32,
        ),
    )


def _percentiles(row: RunRow) -> Iterator[MetricCell]:
    base = next((cell.value for cell in row.metrics if cell.key == "ttft_p50_ms"), None) or 100.0
    for name, scale in (("tpot", 0.1), ("itl", 0.09), ("e2e", 30.0), ("ttft", 1.0)):
        for digits, factor in (("90", 1.7), ("99", 3.4), ("99_9", 5.1)):
            value = base * scale * factor
            yield MetricCell(
                key=f"{name}_p{digits}_ms",
                value=value,
                unit="ms",
                n=900,
                low=value * 0.93,
                high=value * 1.08,
            )


def _group_id(at: int) -> str:
    return row_id(f"group {at}")


def _run(chance: random.Random, at: int, groups: int, ranked_share: float) -> RunRow:
    model, pace = chance.choice(_MODELS)
    engine, versions = chance.choice(_ENGINES)
    hardware, kind, accelerators, power = chance.choice(_HARDWARE)
    quantization = chance.choice(_QUANTIZATIONS)
    concurrency = chance.choice((1, 2, 4, 8, 16, 32, 64, 128))
    group = min(int(chance.expovariate(1.4)), groups - 1)
    suite, dataset, slo = _SUITES[group % len(_SUITES)]
    state = "verified" if chance.random() < ranked_share else chance.choice(_UNRANKED)
    measured = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(250_000))
    repo_id = f"{ORG}/{suite}-{at:06d}"
    faster = 1.3 if quantization else 1.0
    tpot = 9.0 / pace / faster / (power / (accelerators or 1)) ** 0.7 * (1 + concurrency / 40)
    tpot *= chance.lognormvariate(0, 0.08)
    ttft = 40 + tpot * 3 * math.sqrt(concurrency)
    values = {
        "ttft_p50_ms": ttft,
        "ttft_p95_ms": ttft * chance.uniform(1.5, 2.6),
        "tpot_p50_ms": tpot,
        "e2e_p50_ms": ttft + tpot * 180,
        "output_tok_per_s": concurrency * 1000 / tpot * chance.uniform(0.9, 1.0),
        "error_rate": 0.0 if chance.random() < 0.9 else chance.uniform(0, 0.02),
    }
    cells = tuple(
        _cell(key, value, chance.uniform(0.01, 0.06), DEFINITIONS[key].unit)
        for key, value in values.items()
    )
    return RunRow(
        row_id=row_id(repo_id),
        repo_id=repo_id,
        organisation=ORG,
        revision=hashlib.sha1(repo_id.encode()).hexdigest(),
        dataset_url=f"https://huggingface.co/datasets/{repo_id}/tree/main",
        created_at=measured.isoformat(),
        state=state,
        state_reason=None if state == "verified" else f"{state.replace('_', ' ')}: what was found",
        tier=("dev" if chance.random() < 0.1 else "verified") if state == "verified" else "failed",
        group_id=_group_id(group),
        run_id=f"019a0000-0000-7000-8000-{at:012d}",
        envelope_sha256=hashlib.sha256(repo_id.encode()).hexdigest(),
        traces_sha256=None,
        content_hash=hashlib.sha256(repo_id.encode() + b"c").hexdigest(),
        timestamp=measured.isoformat(),
        suite_id=suite,
        suite_version="2.1.0",
        model_id=model,
        model_revision="a" * 40,
        model_provider=chance.choice(("huggingface", "huggingface", "local")),
        quantization=quantization,
        engine_name=engine,
        engine_version=chance.choice(versions),
        hardware_class=kind,
        hardware=hardware,
        accelerators=accelerators,
        fingerprint_sha256=hashlib.sha256(f"{hardware}{at % 7}".encode()).hexdigest(),
        dataset_id=dataset,
        load_point=f"{concurrency} in flight",
        load_kind="closed",
        load_value=float(concurrency),
        slo=slo,
        workload=hashlib.sha256(suite.encode()).hexdigest(),
        metric_definitions=METRIC_DEFINITIONS_VERSION,
        metrics=cells,
    )


def _cell(key: str, value: float, half: float, unit: str) -> MetricCell:
    known = value > 0
    return MetricCell(
        key=key,
        value=value,
        unit=unit,
        n=1200,
        low=value * (1 - half) if known else None,
        high=value * (1 + half) if known else None,
    )


def value_of(row: RunRow, key: str) -> MetricCell:
    return next(cell for cell in row.metrics if cell.key == key)


def _group(at: int, rows: list[RunRow]) -> Group:
    suite, dataset, slo = _SUITES[at % len(_SUITES)]
    ordered = sorted(rows, key=lambda row: -(value_of(row, "output_tok_per_s").value or 0))
    lows = sorted(value_of(row, "output_tok_per_s").low or 0 for row in rows)
    return Group(
        group_id=_group_id(at),
        suite_id=suite,
        suite_version="2.1.0",
        dataset_id=dataset,
        workload=hashlib.sha256(suite.encode()).hexdigest(),
        slo=slo,
        metric_definitions=METRIC_DEFINITIONS_VERSION,
        columns=columns(),
        ranked_by="output_tok_per_s",
        rows=tuple(row.row_id for row in ordered),
        ranks=tuple(_rank(lows, value_of(row, "output_tok_per_s").high or 0) for row in ordered),
        fronts=(
            _front("throughput", "Throughput per GPU against interactivity", ordered, _per_gpu),
            _front("latency", "Latency against throughput", ordered, _latency),
        ),
    )


def _rank(lows: list[float], high: float) -> int:
    return 1 + len(lows) - bisect_right(lows, high)


def _per_gpu(row: RunRow) -> FrontPoint | None:
    if row.accelerators is None:
        return None
    tpot, out = value_of(row, "tpot_p50_ms"), value_of(row, "output_tok_per_s")
    assert tpot.value and tpot.low and tpot.high and out.value and out.low and out.high
    return FrontPoint(
        row_id=row.row_id,
        x=1000 / tpot.value,
        x_low=1000 / tpot.high,
        x_high=1000 / tpot.low,
        y=out.value / row.accelerators,
        y_low=out.low / row.accelerators,
        y_high=out.high / row.accelerators,
    )


def _latency(row: RunRow) -> FrontPoint | None:
    ttft, out = value_of(row, "ttft_p95_ms"), value_of(row, "output_tok_per_s")
    assert ttft.value is not None and out.value is not None
    return FrontPoint(
        row_id=row.row_id,
        x=ttft.value,
        x_low=ttft.low,
        x_high=ttft.high,
        y=out.value,
        y_low=out.low,
        y_high=out.high,
    )


def _front(name, title, rows, point) -> Front:
    gpu = name == "throughput"
    x = (
        Column(key="interactivity", label="Interactivity", unit="token/s per user", better="higher")
        if gpu
        else Column(key="ttft_p95_ms", label="TTFT p95", unit="ms", better="lower")
    )
    y = Column(
        key="output",
        label="Output throughput" + (" per GPU" if gpu else ""),
        unit="token/s",
        better="higher",
    )
    points = sorted((p for p in map(point, rows) if p), key=lambda p: -p.x if gpu else p.x)
    best, marked = -math.inf, []
    for p in points:
        marked.append(p.model_copy(update={"on_front": p.y > best}))
        best = max(best, p.y)
    return Front(name=name, title=title, x=x, y=y, points=tuple(marked))


def _changes(runs: list[RunRow]) -> tuple[Change, ...]:
    row = next((row for row in runs if row.state == "verified"), None)
    if row is None:
        return ()
    return (
        Change(
            group_id=row.group_id or "",
            key="output_tok_per_s",
            label="Output throughput",
            unit="token/s",
            verdict="worse",
            model_id=row.model_id,
            engine_name="vllm",
            hardware=row.hardware,
            load_point=row.load_point,
            since_row_id=row.row_id,
            since=row.timestamp,
            engine_version_before="0.11.0",
            engine_version_after="0.12.1",
            before=1510.0,
            after=1322.0,
            relative=-0.1245,
            relative_low=-0.14,
            relative_high=-0.11,
            n_before=20,
            n_after=9,
            q_value=0.003,
        ),
    )


def _variances(runs: list[RunRow]) -> tuple[Variance, ...]:
    rows = [row for row in runs if row.state == "verified"][:3]
    if len(rows) < 3:
        return ()
    medians = (1480.0, 1390.0, 610.0)
    return tuple(
        Variance(
            group_id=rows[0].group_id or "",
            model_id=rows[0].model_id or "",
            model_revision="a" * 40,
            across=across,
            levels=tuple(
                VarianceLevel(name=name, row_ids=(row.row_id,) * 7)
                for name, row in zip(("vllm", "sglang", "llama.cpp"), rows, strict=True)
            ),
            metrics=(
                MetricSpread(
                    key="output_tok_per_s",
                    label="Output throughput",
                    unit="token/s",
                    medians=medians,
                    lows=tuple(median * 0.95 for median in medians),
                    highs=tuple(median * 1.05 for median in medians),
                    spread=1.43,
                    p_value=0.001,
                ),
            ),
            q_values=(0.004,),
            more_than_noise=(noisy,),
        )
        for across, noisy in (("engine", True), ("quantization", None))
    )


def _evaluation() -> EvaluationRow:
    return EvaluationRow(
        tier="community",
        state="open",
        model_id="Qwen/Qwen2.5-7B-Instruct",
        dataset_id="openai/gsm8k",
        task_id="default",
        value=0.742,
        url="https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/discussions/9",
        proposed_by="somebody",
        ours=True,
        first_seen_at="2026-11-02T10:00:00Z",
    )
