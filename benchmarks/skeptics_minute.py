"""A skeptic's minute: from an empty environment to a verdict, beside ``sigstore`` doing the like.

Each installs into an environment of its own, with an empty cache of packages, and then verifies the
same signature under the same trust configuration, twice. Ours installs the light core by the hashes
of its lock, and ``sigstore`` is installed as its users do, in the version of that lock. The seconds
of a download depend on the index that is asked, so compare the two, and the CPU seconds.

    python benchmarks/skeptics_minute.py [--rounds 1]
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from startup import commands_of

_ROOT: Final = Path(__file__).resolve().parent.parent
_LOCK: Final = _ROOT / "requirements-core.lock"

Words = list[str]


class Cost(NamedTuple):
    """The seconds of a step by the clock, and those of the CPU."""

    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="skeptic-") as name:
        folder = Path(name)
        wheel, commands = _wheel(folder), commands_of(folder)
        installs: dict[str, list[Words]] = {
            "inferencebench": [
                ["--no-deps", "--require-hashes", "-r", str(_LOCK)],
                ["--no-deps", str(wheel)],
            ],
            "sigstore": [[f"sigstore=={_locked('sigstore')}"]],
        }
        verify = {
            "inferencebench": commands["inferencebench verify, traces"],
            "sigstore": commands["sigstore verify"],
        }
        spent: dict[str, list[dict[str, Cost]]] = {tool: [] for tool in installs}
        sizes: dict[str, str] = {}
        for turn in range(rounds):
            for tool, wanted in installs.items():
                home = folder / f"{tool}-{turn}"
                program, words = verify[tool]
                spent[tool].append(dict(_steps(home, wanted, ["-c", program, *words])))
                sizes[tool] = _size(home / "venv")
    print(f"{rounds} round(s) in turns: median seconds by the clock, and of the CPU in brackets")
    for tool, runs in spent.items():
        print(f"{tool}: {sizes[tool]}")
        for step in runs[0]:
            wall, cpu = (statistics.median(run[step][at] for run in runs) for at in (0, 1))
            print(f"    {step:28}{wall:8.1f} s  ({cpu:.1f})")


def _steps(home: Path, installs: list[Words], verify: Words) -> Iterator[tuple[str, Cost]]:
    """Yield what each step costs by its name; the last one is their sum up to the first verdict."""
    home.mkdir()
    python = str(home / "venv/bin/python")
    pip = [python, "-m", "pip", "--quiet", "--cache-dir", str(home / "cache"), "install"]
    made = _cost([[sys.executable, "-m", "venv", str(home / "venv")]], home)
    installed = _cost([[*pip, *wanted] for wanted in installs], home)
    first = _cost([[python, *verify]], home)
    yield "environment made", made
    yield "packages installed", installed
    yield "first verdict", first
    yield "second verdict", _cost([[python, *verify]], home)
    steps = (made, installed, first)
    yield (
        "all, to the first verdict",
        Cost(sum(s.wall_s for s in steps), sum(s.cpu_s for s in steps)),
    )


def _cost(commands: list[Words], home: Path) -> Cost:
    """Return what the commands cost that are run outside the checkout, with no variable of ours."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home)} | _of_the_index()
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(command, env=environment, cwd=home, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.monotonic() - started, cpu)


def _of_the_index() -> dict[str, str]:
    """Return the variables that say where pip and its connections find an index."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower().endswith("_proxy") or name.startswith(("PIP_", "SSL_", "REQUESTS_"))
    }


def _wheel(folder: Path) -> Path:
    """Return the wheel of this checkout, which an index would hold."""
    make = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "wheel")]
    subprocess.run([sys.executable, "-m", *make, str(_ROOT)], check=True)
    (wheel,) = (folder / "wheel").glob("*.whl")
    return wheel


def _locked(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", _LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{_LOCK} does not name {package}")
    return found[1]


def _size(environment: Path) -> str:
    """Return the packages of an environment and their size, pip and byte code not counted."""
    (packages,) = environment.glob("lib/python*/site-packages")
    names = [each for each in packages.glob("*.dist-info") if not each.name.startswith("pip-")]
    files = [
        each.stat().st_size
        for each in packages.rglob("*")
        if each.is_file()
        and each.parent.name != "__pycache__"
        and each.relative_to(packages).parts[0] not in ("pip", "setuptools")
    ]
    return f"{len(names)} packages, {sum(files) / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
