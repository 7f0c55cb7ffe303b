"""Dagster's webserver behind a guard: the UI has no login, so at least no web page may drive it.

The stock webserver executes a GraphQL mutation that arrives as a plain GET from a foreign origin,
which any page open in the same browser can send, and answers under any host name, which DNS
rebinding needs. It is started from here instead, with the same options::

    python -m inferencebench_pipeline.automation.instance.webserver -p 3000 -w workspace.yaml

With ``--read-only`` it is fit for the public. It imports nothing of ours outside this folder, so
that an image needs no more than the folder and Dagster.

It decides in three places, from the outside in: ``guard`` looks at a request before Dagster sees it
(names, origins, sizes), ``app`` decides where Dagster is about to execute a GraphQL operation, and
every mutation asks once more at the moment it runs.
"""

from __future__ import annotations

from .environment import exposed_secrets
from .guard import HOSTS_VARIABLE, Guard
from .server import main, serve

__all__ = ["HOSTS_VARIABLE", "Guard", "exposed_secrets", "main", "serve"]
