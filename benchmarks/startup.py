"""The cost of a command before and until it answers, beside ``sigstore`` doing the like.

Each command is a process of its own, in turns with the others, and what is counted is its CPU
seconds, so that other work on the machine counts for little. All verify the same signature under
the same trust configuration and without a network. ``sigstore verify`` is the measure: a skeptic
has to start it too, and the ratio says what is paid for the record around the signature.

    python benchmarks/startup.py [--rounds 15] [--python VENV/bin/python]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from corpus_generation import EnvelopeFactory

from inferencebench_pipeline.cli.verification.exit_codes import ExitCode
from inferencebench_pipeline.envelope import TRACES_FILE, content_hash, parse_envelope
from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, ISSUER

_OURS = "from inferencebench_pipeline.cli import main; main()"
_SIGSTORE = "from sigstore._cli import main; main()"
_ROOT = Path(__file__).resolve().parent.parent

Command = tuple[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="of the installation to measure"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        commands = commands_of(Path(folder))
        spent: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(arguments.rounds + 1):
            for name, (program, words) in commands.items():
                seconds = _cpu_s(arguments.python, program, words, Path(folder))
                if turn:  # the first one compiles the byte code, as an installation does once
                    spent[name].append(seconds)
    print(f"{arguments.rounds} rounds in turns; CPU seconds of a process, median (least-most)")
    print(f"{'':34}{'CPU s':>22}{'ratio to sigstore verify':>32}")
    for name, found in spent.items():
        ratios = [a / b for a, b in zip(found, spent["sigstore verify"], strict=True)]
        print(f"{name:34}{_spread(found):>22}{_spread(ratios):>32}")


def commands_of(folder: Path) -> dict[str, Command]:
    """Return each command by its name: the program, and its words."""
    factory = EnvelopeFactory(folder)
    data, traces = factory.record("v2")
    factory.close()
    record = folder / "record"
    record.mkdir()
    (record / "envelope.json").write_bytes(data)
    (record / TRACES_FILE).write_bytes(traces)
    alone = folder / "envelope.json"
    alone.write_bytes(data)
    artifact, bundle = folder / "hash.txt", folder / "hash.sigstore.json"
    artifact.write_text(content_hash(parse_envelope(data)))
    bundle.write_bytes(base64.b64decode(json.loads(data)["signature"]["bundle"]))
    trust = ["--trust-config", str(factory.trust_config)]
    ours = [*trust, "--policy", str(factory.policy_path), "--offline"]
    signer = ["--cert-identity", DEFAULT_IDENTITY, "--cert-oidc-issuer", ISSUER]
    theirs = [*trust, "verify", "identity", "--bundle", str(bundle), "--offline", *signer]
    return {
        "sigstore --help": (_SIGSTORE, ["--help"]),
        "sigstore verify": (_SIGSTORE, [*theirs, str(artifact)]),
        "inferencebench --help": (_OURS, ["--help"]),
        "inferencebench verify --help": (_OURS, ["verify", "--help"]),
        "inferencebench verify, no traces": (_OURS, ["verify", str(alone), *ours]),
        "inferencebench verify, traces": (_OURS, ["verify", str(record), *ours]),
        "inferencebench explain, traces": (_OURS, ["explain", str(record), *ours]),
    }


def _cpu_s(python: Path, program: str, words: list[str], home: Path) -> float:
    """Return the CPU seconds of one process, as the system accounts for it when it has ended."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "INFERENCEBENCH_HOME": str(home),
        # Both are run from byte code, also where the environment says that none is written.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(home / "byte-code"),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [python, "-c", program, *words], env=environment, capture_output=True, text=True, cwd=home
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # An envelope without its traces ends as incomplete; any other code is a failure of this script.
    if done.returncode not in (ExitCode.VERIFIED, ExitCode.INCOMPLETE):
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr or done.stdout}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
