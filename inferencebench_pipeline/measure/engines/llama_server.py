"""llama.cpp's server in a process of its own: ``python -m ….llama_server --model FILE --port N``.

The server runs in this process until it is told to stop; it never shares a process with the
client, whose interpreter lock and cores it would take.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import threading

from inferencebench_pipeline.measure.child_process import die_with_parent


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent()
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())

    xllamacpp = importlib.import_module("xllamacpp")  # an extra, and it has no type stubs
    parameters = xllamacpp.CommonParams()
    parameters.model.path = arguments.model
    parameters.model_alias = {arguments.alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = arguments.port
    parameters.n_ctx = arguments.context_tokens
    parameters.n_parallel = arguments.parallel
    parameters.cpuparams.n_threads = arguments.threads
    parameters.cpuparams_batch.n_threads = arguments.threads
    parameters.endpoint_metrics = True
    parameters.endpoint_props = True
    parameters.ui = False
    # No answer may come from an earlier prompt: every request pays for its own prefill.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)  # noqa: T201 - the log
    stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
