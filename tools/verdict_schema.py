"""Prints the JSON Schema of ``verify --json``, of which ``specs/verdict.schema.json`` is a copy."""

from __future__ import annotations

import json

from inferencebench_pipeline.cli.verification.verdict_report import VerdictReport


def main() -> None:
    """Print the schema."""
    print(json.dumps(VerdictReport.model_json_schema(), indent=2))


if __name__ == "__main__":
    main()
