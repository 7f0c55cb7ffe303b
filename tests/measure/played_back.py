"""Constructed telemetry played back: NVML as the module's functions, RAPL as files of a sysfs.

No GPU and no RAPL counter was read for it: the answers are written by hand, in form and units as
NVML and the kernel document them, so that every joule can be worked out on paper.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

DATA = Path(__file__).parent / "data"


def _load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / name).read_text())
    assert content.pop("_origin").startswith("CONSTRUCTED")
    return content


class ConstructedNvml:
    """Answers like ``pynvml`` from a file; a null is ``NVML_ERROR_NOT_SUPPORTED``."""

    NVMLError = pynvml.NVMLError

    def __init__(self, name: str) -> None:
        self._answers = _load(name)
        self._turn: dict[tuple[int, str], int] = {}

    def nvmlInit(self) -> None:
        pass

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self._answers["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        return lambda *arguments: self._answer(name, *arguments)

    def _answer(self, name: str, *arguments: int) -> Any:
        where = self._answers["gpus"][arguments[0]] if arguments else self._answers["system"]
        key = " ".join([name, *(str(argument) for argument in arguments[1:])])
        answers = where[key]
        place = (arguments[0] if arguments else -1, key)
        turn = self._turn[place] = self._turn.get(place, -1) + 1
        if isinstance(answers, dict) and "series" in answers:
            answers = answers["series"][min(turn, len(answers["series"]) - 1)]
        if answers is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        if isinstance(answers, dict):
            return SimpleNamespace(**answers)
        if isinstance(answers, list) and answers and isinstance(answers[0], dict):
            return [SimpleNamespace(**answer) for answer in answers]
        return answers


class ConstructedRapl:
    """A powercap tree whose counters step through a file."""

    def __init__(self, name: str, root: Path) -> None:
        self.root = root
        self._zones: dict[str, dict[str, Any]] = _load(name)
        for zone, content in self._zones.items():
            (root / zone).mkdir(parents=True)
            (root / zone / "name").write_text(content["name"] + "\n")
            (root / zone / "max_energy_range_uj").write_text(str(content["range"]) + "\n")

    def steps(self) -> Iterator[int]:
        """Yield after every counter was set to its next value."""
        count = min(len(content["energy_uj"]) for content in self._zones.values())
        for step in range(count):
            for zone, content in self._zones.items():
                (self.root / zone / "energy_uj").write_text(str(content["energy_uj"][step]) + "\n")
            yield step
