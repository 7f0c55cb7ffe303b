"""How fast envelopes are verified, beside the stock sigstore verifier and upstream's ``bench``.

All see the same envelopes, in turns, in one run; rates are per second of CPU time, so that other
work on the machine counts for little. Three things are timed:

- *bundle*: parse the Sigstore bundle and verify it. Stock: ``sigstore.verify.Verifier``, one for
  the whole batch. Ours makes stock's checks and the ones it leaves out.
- *envelope*: from the bytes of ``envelope.json`` to the verdict: content hash, bundle, the
  envelope's claims, identity policy. Stock has no such step; its bundle rate is what is compared.
- *audit*: upstream's ``bench audit`` over a folder, start-up taken off, on envelopes that are
  signed with a development key: of keyless ones it refreshes the trust root over the network for
  each. Needs upstream's package in an environment of its own: ``--upstream PATH/TO/bench``.

    python benchmarks/verify_speed.py [--envelopes 1500] [--rounds 5] [--upstream ~/venv/bin/bench]
"""

from __future__ import annotations

import argparse
import base64
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from corpus_generation import ORGANISATION, EnvelopeFactory, Method
from sigstore.models import Bundle
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, ISSUER
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, load_trust
from inferencebench_pipeline.trust.verify.bundle import BundleVerifier, parse_bundle
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier

_CHUNK = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--envelopes", type=int, default=1500, help="of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--upstream", type=Path, help="upstream's bench program")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="verify-speed-") as folder:
        factory = EnvelopeFactory(Path(folder))
        print(f"{arguments.envelopes} envelopes of each kind, {arguments.rounds} rounds in turns")
        print(f"{'':26}{'median /s':>12}{'min':>8}{'max':>8}{'ratio to stock':>17}")
        for method in ("v1", "v2"):
            envelopes = list(factory.envelopes(arguments.envelopes, method))
            _compare(factory, method, envelopes, arguments.rounds)
        _two_processes(factory, arguments.envelopes, arguments.rounds)
        if arguments.upstream:
            _upstream(factory, arguments.upstream, Path(folder), arguments.rounds)


def _compare(factory: EnvelopeFactory, method: Method, envelopes: list[bytes], rounds: int) -> None:
    contenders = {
        "stock bundle": _stock(factory.trust_config, envelopes),
        "our bundle": _our_bundles(factory.trust, envelopes),
        "our envelope": _our_envelopes(factory.trust, factory.policy, envelopes),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.process_time()
            run()
            rates[name].append(len(envelopes) / (time.process_time() - started))
    for name, found in rates.items():
        ratios = [ours / stock for ours, stock in zip(found, rates["stock bundle"], strict=True)]
        _row(f"Rekor {method} {name}", found, ratios)


def _stock(trust_config: Path, envelopes: list[bytes]) -> Callable[[], None]:
    verifier = Verifier(trusted_root=load_trust(trust_config).trusted_root)
    policy = Identity(identity=DEFAULT_IDENTITY, issuer=ISSUER)
    signed = _signed(envelopes)

    def run() -> None:
        for message, bundle in signed:
            verifier.verify_artifact(message, Bundle.from_json(bundle), policy)

    return run


def _our_bundles(trust: TrustRoot, envelopes: list[bytes]) -> Callable[[], None]:
    signed = _signed(envelopes)

    def run() -> None:
        verifier = BundleVerifier(trust)
        for message, bundle in signed:
            verifier.verify(message, parse_bundle(bundle))

    return run


def _our_envelopes(
    trust: TrustRoot, policy: IdentityPolicy, envelopes: list[bytes]
) -> Callable[[], None]:
    def run() -> None:
        verifier = EnvelopeVerifier(trust, policy)
        for data in envelopes:
            verdict = verifier.verify(data, organisation=ORGANISATION, traces=None)
            if not verdict.signature_holds:
                raise RuntimeError(verdict.reason)

    return run


def _signed(envelopes: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return each content hash and bundle, taken out of the envelopes beforehand."""
    verifier_input = []
    for data in envelopes:
        bundle = base64.b64decode(json.loads(data)["signature"]["bundle"])
        verifier_input.append((_content_hash(data), bundle))
    return verifier_input


def _content_hash(data: bytes) -> bytes:
    return content_hash(parse_envelope(data)).encode()


_worker: EnvelopeVerifier | None = None


def _open_worker(trust_config: Path, policy: bytes) -> None:
    global _worker
    _worker = EnvelopeVerifier(load_trust(trust_config), parse_policy(policy, where="benchmark"))


def _verify_chunk(envelopes: list[bytes]) -> int:
    assert _worker is not None
    return sum(
        _worker.verify(data, organisation=ORGANISATION, traces=None).signature_holds
        for data in envelopes
    )


def _two_processes(factory: EnvelopeFactory, count: int, rounds: int) -> None:
    """Time one worker process and two, by the clock on the wall: both have the same overhead."""
    envelopes = list(factory.envelopes(2 * count, "v2"))
    chunks = [envelopes[at : at + _CHUNK] for at in range(0, len(envelopes), _CHUNK)]
    opening = (factory.trust_config, factory.policy_path.read_bytes())
    context = get_context("spawn")
    rates: dict[int, list[float]] = {1: [], 2: []}
    with (
        ProcessPoolExecutor(1, context, _open_worker, opening) as one,
        ProcessPoolExecutor(2, context, _open_worker, opening) as two,
    ):
        for workers, pool in ((1, one), (2, two)):
            list(pool.map(_verify_chunk, chunks[: 4 * workers]))
        for _ in range(rounds):
            for workers, pool in ((1, one), (2, two)):
                started = time.monotonic()
                if sum(pool.map(_verify_chunk, chunks)) != len(envelopes):
                    raise RuntimeError("an envelope was rejected")
                rates[workers].append(len(envelopes) / (time.monotonic() - started))
    ratios = [both / alone for both, alone in zip(rates[2], rates[1], strict=True)]
    print(f"{'':26}{'median /s':>12}{'min':>8}{'max':>8}{'ratio to one':>17}")
    _row("one process, v2", rates[1], [1.0] * rounds)
    _row("two processes, v2", rates[2], ratios)


def _upstream(factory: EnvelopeFactory, bench: Path, folder: Path, rounds: int) -> None:
    envelopes = list(factory.envelopes(400, "dev-key"))
    key = folder / "dev.pub"
    key.write_bytes(factory.dev_key_pem)
    many, none = folder / "many", folder / "one"
    for place, part in ((many, envelopes), (none, envelopes[:1])):
        place.mkdir()
        for number, data in enumerate(part):
            (place / f"{number}.json").write_bytes(data)
    policy = parse_policy(
        json.dumps(
            {
                "version": 1,
                "dev_keys": [
                    {
                        "organisation": ORGANISATION,
                        "suites": ["*"],
                        "public_key_pem": factory.dev_key_pem.decode(),
                    }
                ],
            }
        ).encode(),
        where="benchmark",
    )
    run_ours = _our_envelopes(factory.trust, policy, envelopes)
    theirs, ours = [], []
    for _ in range(rounds):
        whole, start_up = _audit_s(bench, key, many), _audit_s(bench, key, none)
        theirs.append((len(envelopes) - 1) / max(whole - start_up, 1e-9))
        started = time.process_time()
        run_ours()
        ours.append(len(envelopes) / (time.process_time() - started))
    print(f"{'':26}{'median /s':>12}{'min':>8}{'max':>8}{'ratio to audit':>17}")
    _row("bench audit, dev key", theirs, [1.0] * rounds)
    _row("our envelope, dev key", ours, [a / b for a, b in zip(ours, theirs, strict=True)])


def _audit_s(bench: Path, key: Path, folder: Path) -> float:
    """Return the CPU seconds of one audit, from the resource usage of the child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [bench, "audit", folder, "--dev-public-key", key, "--report", "json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(name: str, rates: Sequence[float], ratios: Sequence[float]) -> None:
    print(
        f"{name:26}{statistics.median(rates):>12,.0f}{min(rates):>8,.0f}{max(rates):>8,.0f}"
        f"{statistics.median(ratios):>8.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
