"""Our client beside the peers' load generators: the same load, the same engine, the same core.

The ground-truth engine has one core, the load generator with all its processes another. Every
tool is told one closed loop; the first round of requests (one per stream) is left out for all.
An error is what a tool reports for a request, or for a gap between tokens, minus what the engine
logged for it. Our requests are matched by the id in their events; the peers, which keep none, in
the order in which requests began.

    python benchmarks/peers.py [--install] [--only aiperf] [--rounds 2] [--streams 8 64 256]

``--install`` makes the missing environments under ~/.cache/inferencebench-peers first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from client_process import errors_of, on_core, run_client
from ground_truth import Truth, ground_truth_engine
from peer_tools import PEERS, Load, Peer

_TTFT_MS, _ITL_MS, _TOKENS = 50.0, 20.0, 100
_OURS = "this client"


@dataclass(frozen=True)
class Outcome:
    """How one tool did at one level, once."""

    ttft_p50_ms: float
    ttft_p99_ms: float
    itl_p99_ms: float
    """NaN where the tool keeps no times between chunks."""
    start_up_s: float
    cpu_s: float
    tokens: int
    truth_spread_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--only", nargs="+", default=[peer.name for peer in PEERS])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--streams", type=int, nargs="+", default=[8, 64, 256])
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if peer.name in arguments.only and _ready(peer, arguments)]
    results: dict[tuple[int, str], list[Outcome]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for streams in arguments.streams:
            results[streams, _OURS].append(_told(_OURS, streams, _ours(streams)))
            for peer in peers:
                try:
                    outcome = _told(peer.name, streams, _theirs(peer, streams))
                    results[streams, peer.name].append(outcome)
                except (RuntimeError, KeyError, OSError, ValueError) as error:
                    print(f"{peer.name} at {streams} streams: {error!r:.600}", file=sys.stderr)
    _print(results, [_OURS, *(peer.name for peer in peers)], arguments.streams)


def _ready(peer: Peer, arguments: argparse.Namespace) -> bool:
    if not peer.installed and arguments.install:
        try:
            peer.install()
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{peer.name} does not install here: {error}", file=sys.stderr)
    if not peer.installed:
        print(f"{peer.name} is not installed; --install tries", file=sys.stderr)
    return peer.installed


def _told(name: str, streams: int, outcome: Outcome) -> Outcome:
    """Say what came out, so that a run that is cut short was not for nothing."""
    print(f"{name}, {streams} streams: {outcome}", file=sys.stderr, flush=True)
    return outcome


def _requests(streams: int) -> int:
    """Requests after the first round, enough for a p99 that is not the maximum."""
    return max(40, 2 * streams)


def _ours(streams: int) -> Outcome:
    cores = sorted(os.sched_getaffinity(0))
    load = {"kind": "closed", "concurrency": streams, "requests": _requests(streams)}
    with (
        ground_truth_engine(ttft_ms=_TTFT_MS, itl_ms=_ITL_MS, cpu=cores[0]) as engine,
        on_core(cores[-1]),
    ):
        run = run_client(engine.base_url, load | {"warmup_requests": streams}, max_tokens=_TOKENS)
    errors = errors_of(run, engine.truths)
    cpu_s = run.cpu_s + run.decode_cpu_s
    errors_ms = (np.abs(errors.ttft_us) / 1e3, errors.itl_us / 1e3)
    return _outcome(*errors_ms, engine.truths, run.spawned_ns, cpu_s)


def _theirs(peer: Peer, streams: int) -> Outcome:
    cores = sorted(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as folder,
        ground_truth_engine(ttft_ms=_TTFT_MS, itl_ms=_ITL_MS, cpu=cores[0]) as engine,
        on_core(cores[-1]),
    ):
        url = engine.base_url.removesuffix("/v1")
        load = Load(url, streams, streams + _requests(streams), _TOKENS)
        spawned_ns, cpu_s = peer.run(Path(folder), load)
        reported = sorted(peer.read(Path(folder), load), key=lambda row: row.started)
    in_order = sorted(engine.truths, key=lambda truth: truth.first_byte_ns)[-len(reported) :]
    ttft: list[float] = []
    gaps: list[float] = []
    for row, truth in list(zip(reported, in_order, strict=True))[streams:]:
        ttft.append(abs(row.ttft_ms - (truth.before_ns[0] - truth.first_byte_ns) / 1e6))
        true_gaps_ms = np.diff(truth.before_ns)[: len(row.gaps_ms)] / 1e6
        gaps.extend(np.abs(np.array(row.gaps_ms) - true_gaps_ms))
    return _outcome(np.array(ttft), np.array(gaps), engine.truths, spawned_ns, cpu_s)


def _outcome(
    ttft_ms: np.ndarray, gaps_ms: np.ndarray, truths: list[Truth], spawned_ns: int, cpu_s: float
) -> Outcome:
    true_ttft_ms = np.array([each.before_ns[0] - each.first_byte_ns for each in truths]) / 1e6
    return Outcome(
        ttft_p50_ms=float(np.percentile(ttft_ms, 50)),
        ttft_p99_ms=float(np.percentile(ttft_ms, 99)),
        itl_p99_ms=float(np.percentile(gaps_ms, 99)) if len(gaps_ms) else float("nan"),
        start_up_s=(min(each.first_byte_ns for each in truths) - spawned_ns) / 1e9,
        cpu_s=cpu_s,
        tokens=sum(len(each.before_ns) for each in truths),
        truth_spread_ms=float(np.diff(np.percentile(true_ttft_ms, [1, 99]))[0]),
    )


def _print(
    results: dict[tuple[int, str], list[Outcome]], names: list[str], levels: list[int]
) -> None:
    print(
        f"truth: TTFT {_TTFT_MS:g} ms, ITL {_ITL_MS:g} ms, {_TOKENS} tokens; load average "
        f"{os.getloadavg()[0]:.1f}; median [least, most] over the rounds; ms unless named"
    )
    for streams in levels:
        print(f"\n{streams} streams")
        print(
            f"{'':16}{'TTFT error p50':>24}{'TTFT error p99':>24}{'ITL error p99':>24}"
            f"{'start-up, s':>18}{'CPU-s':>8}{'truth p1-p99':>14}"
        )
        for name in names:
            rows = results[streams, name]
            if rows:
                print(
                    f"{name:16}{_spread([row.ttft_p50_ms for row in rows]):>24}"
                    f"{_spread([row.ttft_p99_ms for row in rows]):>24}"
                    f"{_spread([row.itl_p99_ms for row in rows]):>24}"
                    f"{_spread([row.start_up_s for row in rows]):>18}"
                    f"{np.median([row.cpu_s for row in rows]):>8.1f}"
                    f"{np.median([row.truth_spread_ms for row in rows]):>14.3f}"
                )
    if len(levels) > 1:
        print("\nCPU: fixed, and per 1M tokens (from the lowest level to the highest)")
        for name in names:
            _print_cpu(name, results[min(levels), name], results[max(levels), name])


def _print_cpu(name: str, low: list[Outcome], high: list[Outcome]) -> None:
    if not low or not high:
        return
    slope = [(b.cpu_s - a.cpu_s) / (b.tokens - a.tokens) for a, b in zip(low, high, strict=False)]
    fixed = [a.cpu_s - per_token * a.tokens for a, per_token in zip(low, slope, strict=False)]
    per_million = _spread([per_token * 1e6 for per_token in slope])
    print(f"{name:16}{_spread(fixed):>24} CPU-s{per_million:>30} CPU-s")


def _spread(values: list[float]) -> str:
    if np.isnan(values).any():
        return "not kept"
    return f"{np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


if __name__ == "__main__":
    main()
