# Three images from one file, one for each part that must be alive, with its command and its health
# check. Nothing here knows a token or a signing identity.
#   docker build --target host -t inferencebench-host .       the webserver: Dagster, guarded
#   docker build --target daemon -t inferencebench-daemon .   the daemon: the same, another command
#   docker build --target code -t inferencebench-code .       this package and the clients that it needs
# Run each with a restart policy: a command that dies takes its container with it.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN useradd --create-home --uid 10001 dagster \
 && install -d -o dagster -g dagster /opt/dagster/home /var/lib/inferencebench

FROM base AS host-packages
COPY deploy/host.lock /tmp/host.lock
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-deps --require-hashes -r /tmp/host.lock

FROM base AS host
COPY --from=host-packages /opt/venv /opt/venv
COPY deploy/dagster.postgres.yaml /opt/dagster/home/dagster.yaml
COPY deploy/workspace.yaml /opt/dagster/workspace.yaml
COPY inferencebench_pipeline/automation/instance/webserver /opt/dagster/webserver
ENV PATH=/opt/venv/bin:$PATH DAGSTER_HOME=/opt/dagster/home
WORKDIR /opt/dagster
RUN chown -R dagster:dagster /opt/dagster
USER 10001
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/server_info', timeout=5)"]
# INFERENCEBENCH_UI_HOSTS names it as people reach it; with --read-only it is fit for the public.
CMD ["python", "-m", "webserver", "-h", "0.0.0.0", "-p", "3000", "-w", "workspace.yaml"]

FROM host AS daemon
# Dagster's own tolerance is half an hour; here a daemon that is dead or hangs is unhealthy in five
# minutes. It says so itself only while it lives: INFERENCEBENCH_HEARTBEAT_URL is for the rest.
ENV DAGSTER_DAEMON_HEARTBEAT_TOLERANCE=180
HEALTHCHECK --interval=60s --timeout=30s --start-period=120s --retries=1 \
  CMD ["dagster-daemon", "liveness-check"]
CMD ["dagster-daemon", "run", "-w", "workspace.yaml"]

# Neither the demo's engine and model nor the sandbox is here: .dockerignore leaves their code out.
FROM base AS code-packages
COPY deploy/code.lock /tmp/code.lock
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-deps --require-hashes -r /tmp/code.lock
COPY pyproject.toml README.md /src/
COPY inferencebench_pipeline /src/inferencebench_pipeline
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation /src

FROM base AS code
COPY --from=code-packages /opt/venv /opt/venv
# The wheel holds the package; Dagster loads the code location from this file.
COPY definitions.py /opt/inferencebench/definitions.py
COPY specs /opt/inferencebench/specs
ENV PATH=/opt/venv/bin:$PATH \
    INFERENCEBENCH_HOME=/var/lib/inferencebench \
    INFERENCEBENCH_SPECS=/opt/inferencebench/specs
WORKDIR /opt/inferencebench
USER 10001
EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["dagster", "api", "grpc-health-check", "-p", "4000"]
# One process that loads the code and serves it. `dagster code-server start` is two: when the second
# dies, the first stays, answers the health check and starts nothing any more.
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "4000", "-f", "definitions.py"]
