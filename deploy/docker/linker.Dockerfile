# The linker's image. Build from the repository's root:
#
#     docker build -f deploy/docker/linker.Dockerfile -t kinlink/linker:0.1.0 .
#
# Nothing is compiled and nothing of the build stage but the virtual environment
# stays. Pin the base by digest in your own build: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
RUN ["pip", "install", "--no-cache-dir", "uv==0.13.9"]
WORKDIR /build
COPY pyproject.toml uv.lock ./
ENV UV_PROJECT_ENVIRONMENT=/opt/kinlink \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1
RUN ["uv", "sync", "--frozen", "--no-dev", "--no-install-project", "--extra", "linker", "--extra", "object-store"]

FROM ${BASE}
# The group arithmetic is Debian's libsodium, so that Debian's security updates reach it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libsodium23 \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/kinlink
COPY --from=packages /opt/kinlink /opt/kinlink
WORKDIR /srv/kinlink
COPY services/kinlink/__init__.py services/kinlink/ristretto255.py services/kinlink/pseudonyms.py \
    services/kinlink/blinding.py services/kinlink/conversion_client.py services/kinlink/rekeying_client.py \
    services/kinlink/channel.py services/kinlink/ed25519.py services/kinlink/errors.py \
    services/kinlink/policy_signatures.py services/kinlink/approvals.py services/kinlink/change_document.py \
    services/kinlink/genesis.py services/kinlink/signed_change.py kinlink/
COPY services/kinlink/delivery/__init__.py services/kinlink/delivery/dataset.py services/kinlink/delivery/datasets.py \
    services/kinlink/delivery/encoded_datasets.py services/kinlink/delivery/refused_values.py \
    services/kinlink/delivery/period.py kinlink/delivery/
COPY services/kinlink/encoding/__init__.py services/kinlink/encoding/schema.py kinlink/encoding/
COPY services/kinlink/encoding/normalisation kinlink/encoding/normalisation
COPY services/kinlink/encoding/schemas kinlink/encoding/schemas
COPY services/kinlink/audit kinlink/audit
COPY services/kinlink/types kinlink/types
COPY services/kinlink/pseudonymizer kinlink/pseudonymizer
COPY services/kinlink/linker kinlink/linker
COPY services/servicekit servicekit
COPY services/linker linker
ENV PATH=/opt/kinlink/bin:$PATH \
    PYTHONPATH=/srv/kinlink \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# State. Everything else may be read-only; /tmp must be writable.
VOLUME ["/var/lib/kinlink"]
EXPOSE 8443 8081
STOPSIGNAL SIGTERM
# No HEALTHCHECK: Kubernetes probes the health port.
ENTRYPOINT ["python", "-m", "linker"]
CMD ["--config", "/etc/kinlink/config.toml"]
