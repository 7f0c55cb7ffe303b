# Two images from one file. Nothing here knows a token or a signing identity.
#   docker build --target host -t inferencebench-host .   webserver and daemon: Dagster, guarded
#   docker build --target code -t inferencebench-code .   this package, its clients and its engine
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
COPY inferencebench_pipeline/automation/webserver /opt/dagster/webserver
ENV PATH=/opt/venv/bin:$PATH DAGSTER_HOME=/opt/dagster/home
WORKDIR /opt/dagster
RUN chown -R dagster:dagster /opt/dagster
USER 10001
EXPOSE 3000
# The daemon runs from the same image: command ["dagster-daemon", "run", "-w", "workspace.yaml"],
# health check ["CMD", "dagster-daemon", "liveness-check"].
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/server_info', timeout=5)"]
# INFERENCEBENCH_UI_HOSTS names it as people reach it; with --read-only it is fit for the public.
CMD ["python", "-m", "webserver", "-h", "0.0.0.0", "-p", "3000", "-w", "workspace.yaml"]

FROM base AS code-packages
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-deps --require-hashes -r /tmp/requirements.lock
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
CMD ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", "-f", "definitions.py"]
