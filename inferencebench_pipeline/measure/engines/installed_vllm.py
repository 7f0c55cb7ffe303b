"""Prints which vLLM an interpreter has, as JSON: run by that interpreter, standard library only."""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform


def main() -> None:
    """Print ``{}`` when it has none, else its distribution, versions and the wheel's digest."""
    # Looked for and not imported, which would load torch.
    if importlib.util.find_spec("vllm") is None:
        print("{}")  # noqa: T201 - the answer
        return
    # The CPU build is published as another distribution of the same module.
    names = importlib.metadata.packages_distributions().get("vllm", ["vllm"])
    distribution = importlib.metadata.distribution(names[0])
    # As in measure.software: what an installer adds (compiled files, its notes) is left out.
    lines = sorted(
        f"{file.as_posix()}={file.hash.value}"
        for file in distribution.files or []
        if file.hash is not None and file.suffix != ".pyc" and ".dist-info/" not in file.as_posix()
    )
    answer = {
        "distribution": names[0],
        "version": distribution.version,
        "wheel_files_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "python": platform.python_version(),
    }
    for name in ("torch", "transformers"):
        try:
            answer[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    print(json.dumps(answer))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
