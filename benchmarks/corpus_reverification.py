"""Re-verifying a whole corpus: the first pass, an unchanged second one, and the one statement.

A store is filled by the crawl's own code from generated records, each signed with the sandbox's
keys and with a log entry, proof and checkpoint of its own, and with the card that is published
beside it (no traces: re-deriving metrics is timed apart, on a few records). Then, each in a process
of its own so that memory is told apart:

- *first pass*: every verdict is reached, shared among processes;
- *second pass*: the same bytes under the same rules are recognised, stored bytes hashed again;
- *statement*: every record is verified again, then signed over everything, then
  ``verify --corpus`` on it and on the table beside it.

    python benchmarks/corpus_reverification.py [--records 100000] [--store FOLDER] [--log v1|v2]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from inferencebench_pipeline.corpus import CorpusStore

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from corpus_generation import ORGANISATION, EnvelopeFactory, Method
from cost import cost_of

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.statement.draft import CorpusDraft
from inferencebench_pipeline.corpus.statement.statement import STATEMENT_FILE, state_corpus
from inferencebench_pipeline.corpus.statement.verified_records import (
    VerifiedRecord,
    verified_anew,
    verified_records,
)
from inferencebench_pipeline.corpus.verification import verify_days
from inferencebench_pipeline.corpus.verifier import PolicyJudge
from inferencebench_pipeline.envelope.reading import read_unambiguous
from inferencebench_pipeline.hub.dataset.card import (
    CARD_FILE,
    ENVELOPE_FILE,
    front_matter,
    render_card,
)
from inferencebench_pipeline.hub.dataset.listing import PublishedRepo
from inferencebench_pipeline.hub.dataset.naming import dataset_name
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.verify.policy import load_policy

_FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class _Generated:
    """Plays the Hub: records and their cards are made as the crawl lists them."""

    factory: EnvelopeFactory
    records: int
    days: int
    method: Method
    endpoint: str = "https://huggingface.co"
    _files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def listed(self, organisation: str) -> Iterator[PublishedRepo]:
        signer = None
        for number, data in enumerate(self.factory.envelopes(self.records, self.method)):
            read = read_unambiguous(data)
            if signer is None:
                signer = self.factory.signer_of(data)
            repo_id = f"{organisation}/{dataset_name(read.envelope)}"
            card = render_card(read, repo_id, signer=signer, endpoint=self.endpoint)
            created = _FIRST_DAY + timedelta(days=number * self.days // self.records)
            revision = hashlib.sha1(b"%d" % number).hexdigest()
            self._files[repo_id] = {ENVELOPE_FILE: data, CARD_FILE: card}
            front = front_matter(read, verified=True)
            yield PublishedRepo(repo_id, revision, created, created, front)

    def fetch(self, repo_id: str, _revision: str, path: str) -> bytes | None:
        data = self._files[repo_id].get(path)
        if path == CARD_FILE:  # the last one that is asked for
            del self._files[repo_id]
        return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--log", choices=["v1", "v2"], default="v2")
    parser.add_argument("--store", type=Path, help="keep the generated corpus here, or reuse it")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _STEPS[arguments.step](arguments.store, arguments.processes)
        return
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        root = arguments.store or Path(folder)
        if not (root / "sandbox").exists():
            _generate(root, arguments.records, arguments.days, arguments.log)
        shutil.rmtree(root / "store/corpus/verdicts", ignore_errors=True)
        for step in _STEPS:
            asked = ["--step", step, "--store", root, "--processes", str(arguments.processes)]
            subprocess.run([sys.executable, __file__, *asked], check=True)


def _generate(root: Path, records: int, days: int, method: Method) -> None:
    started = time.monotonic()
    factory = EnvelopeFactory(root / "sandbox")
    crawl_source(
        _Generated(factory, records, days, method), ORGANISATION, CorpusStore(root / "store")
    )
    factory.close()
    print(f"generated and crawled {records:,} records in {time.monotonic() - started:.0f} s")


def _judge(root: Path) -> PolicyJudge:
    trust = load_trust(root / "sandbox/sigstore/trust_config.json")
    return PolicyJudge(trust, load_policy(root / "sandbox/sigstore/policy.yaml"))


def _pass(root: Path, processes: int, name: str) -> None:
    store = root / "store"
    days = created_days(CorpusStore(store))
    with _measured(name):
        found = verify_days(CorpusStore(store), days, _judge(root), processes=processes)
    verified = sum(day.verified for day in found)
    print(
        f"    {verified:,} verified, {sum(day.rejected for day in found)} rejected, "
        f"{sum(day.recognised for day in found):,} recognised, "
        f"{sum(len(day.findings) for day in found)} findings"
    )


def _first(root: Path, processes: int) -> None:
    _pass(root, processes, f"first pass, {processes} processes")


def _second(root: Path, processes: int) -> None:
    _pass(root, processes, "second pass, unchanged")


def _sign(root: Path, processes: int) -> None:
    judge, store = _judge(root), CorpusStore(root / "store")
    factory = EnvelopeFactory(root / "sandbox")

    def draft(records: list[VerifiedRecord]) -> CorpusDraft:
        # No index is built here, and a statement that names no file of one asks for none.
        return CorpusDraft(ORGANISATION, records, judge.rules, {})

    with _measured("every record verified anew"):
        records = verified_anew(store, ORGANISATION, judge, processes=processes)
    with _measured("statement made and signed"):
        stored = verified_records(store, ORGANISATION, judge.rules)
        stated = state_corpus(
            store, draft(stored), factory.signed_statement, anew=lambda: draft(records)
        )
    size_mb = (stated.folder / STATEMENT_FILE).stat().st_size / 1e6
    print(f"    {stated.subjects:,} subjects, {size_mb:.1f} MB")


def _verify(root: Path, _processes: int) -> None:
    """Time ``verify --corpus`` inside the process: what comes after the imports."""
    from inferencebench_pipeline.cli.verification.corpus_targets import read_corpus
    from inferencebench_pipeline.cli.verification.corpus_verifying import verify_corpus
    from inferencebench_pipeline.deployment import Deployment
    from inferencebench_pipeline.settings import Settings

    environment = {
        "INFERENCEBENCH_TRUST_CONFIG": str(root / "sandbox/sigstore/trust_config.json"),
        "INFERENCEBENCH_POLICY": str(root / "sandbox/sigstore/policy.yaml"),
    }
    deployment = Deployment(Settings.from_environment(environment))
    folder = CorpusStore(root / "store").statement_folder
    for attempt in ("verify --corpus", "verify --corpus, again"):
        with _measured(attempt):
            verify_corpus(
                read_corpus(str(folder), deployment, organisation=ORGANISATION),
                trust=deployment.trust(),
                policy=deployment.policy(),
                endpoint="https://huggingface.co",
                seen_folder=root / "seen",
                as_json=False,
                command=f"inferencebench verify --corpus {folder}",
            )


_STEPS = {"first": _first, "second": _second, "sign": _sign, "verify": _verify}


@contextmanager
def _measured(name: str) -> Iterator[None]:
    """Print the time by the clock and the CPU, and the most memory that all processes held."""
    with cost_of() as cost:
        yield
    samples = " ".join(f"{value:.0f}" for value in cost.quarters_mb)
    print(
        f"{name:34}{cost.wall_s:8.2f} s{cost.cpu_s:10.2f} CPU s{cost.peak_mb:8.0f} MB at most"
        f"  (at each quarter: {samples} MB)",
        flush=True,
    )


if __name__ == "__main__":
    main()
