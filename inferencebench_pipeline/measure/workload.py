"""What is sent: prompts drawn by seed from a hashed prompt set, salted so no cache knows them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec import BenchmarkSpec

_BUILTIN = "builtin:"
_SALT_DIGITS = 9


@dataclass(frozen=True)
class Prompt:
    """One prompt and the name it goes by in the traces."""

    id: str
    text: str


@dataclass(frozen=True)
class PromptSet:
    """A named set of prompts, identified by the SHA-256 of its file's bytes."""

    id: str
    sha256: str
    prompts: tuple[Prompt, ...]


def load_prompt_set(dataset: str) -> PromptSet:
    """Return the prompt set that ``workload.dataset`` names.

    Raises:
        SpecError: no such set is shipped; the message lists those that are.
    """
    name = dataset.removeprefix(_BUILTIN)
    folder = resources.files(__package__) / "prompts"
    file = folder / f"{name}.json"
    if not file.is_file():
        known = ", ".join(
            sorted(_BUILTIN + entry.name.removesuffix(".json") for entry in folder.iterdir())
        )
        raise SpecError(f"workload.dataset = {dataset!r} is not a known prompt set; use {known}")
    data = file.read_bytes()
    prompts = tuple(Prompt(row["id"], row["text"]) for row in json.loads(data)["prompts"])
    return PromptSet(dataset, hashlib.sha256(data).hexdigest(), prompts)


@dataclass(frozen=True)
class RequestPlan:
    """The body of every request of a run, by its index."""

    spec: BenchmarkSpec
    run_id: str
    repeat: int
    prompts: tuple[Prompt, ...]

    @classmethod
    def of(cls, spec: BenchmarkSpec, run_id: str, repeat: int = 1) -> RequestPlan:
        """Return the plan of ``spec``: its prompts drawn by its seed, salted for one repeat.

        Raises:
            SpecError: the prompt set is unknown, or smaller than ``workload.prompts``.
        """
        available = load_prompt_set(spec.workload.dataset)
        wanted = spec.workload.prompts
        if wanted > len(available.prompts):
            raise SpecError(
                f"workload.prompts = {wanted}: {available.id} holds only "
                f"{len(available.prompts)} prompts; lower it"
            )

        def draw(prompt: Prompt) -> str:
            return hashlib.sha256(f"{spec.seed}:{prompt.id}".encode()).hexdigest()

        return cls(spec, run_id, repeat, tuple(sorted(available.prompts, key=draw)[:wanted]))

    def prompt(self, index: int) -> Prompt:
        """Return the prompt of request ``index``: the drawn prompts in turn."""
        return self.prompts[index % len(self.prompts)]

    def body(self, index: int) -> bytes:
        """Return the JSON body of request ``index``, salted for this run."""
        content = self._content(self.prompt(index), f"[{self._salt(index)}] ")
        return _json({"model": self.spec.model.served_name or self.spec.model.id, **content})

    def sha256(self) -> str:
        """Return what identifies the workload: the SHA-256 of what is asked.

        The drawn prompts and how they are to be answered, before salting. Neither the model nor
        how often and how fast it is asked belongs to it: two models, or two load points, that
        answer the same questions are compared.
        """
        digest = hashlib.sha256()
        for prompt in self.prompts:
            digest.update(_json(self._content(prompt, "")) + b"\n")
        return digest.hexdigest()

    def _salt(self, index: int) -> str:
        """Return digits that differ in every request of every run.

        They come first in the prompt, so no engine can serve it from a prefix cache; digits,
        because most tokenizers give equally many of them equally many tokens.
        """
        seen = hashlib.sha256(f"{self.run_id}:{self.repeat}:{index}".encode()).digest()
        return str(int.from_bytes(seen[:8]) % 10**_SALT_DIGITS).zfill(_SALT_DIGITS)

    def _content(self, prompt: Prompt, salt: str) -> dict[str, object]:
        """Return what a request asks, all but which model."""
        workload = self.spec.workload
        text = salt + prompt.text
        content: dict[str, object] = {
            "max_tokens": workload.max_tokens,
            "temperature": workload.temperature,
            "seed": self.spec.seed % 2**31,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if workload.api == "chat":
            content["messages"] = [{"role": "user", "content": text}]
        else:
            content["prompt"] = text
        if workload.ignore_eos:
            # Not OpenAI's, but vLLM's, SGLang's and llama.cpp's; left out when not asked for.
            content["ignore_eos"] = True
        return content


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
