# One image for every way of running: `pg-roundtrip serve` by default, any other pg-roundtrip command by hand.
# Works with both of Docker's builders. If a package index, mirror or proxy uses a private certificate, build on a BASE_IMAGE
# that trusts it; apt's and pip's settings in that image are used, too.
ARG BASE_IMAGE=debian:trixie-slim

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS base
# Don't pin Debian packages: a pinned version disappears with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libnss-wrapper python3 tini tzdata \
    && rm -rf /var/lib/apt/lists/*


FROM base AS build
RUN apt-get update \
    # Take the key of the PostgreSQL project's repository from Debian, whose signature vouches for it. Depending on the
    # release, it is in one of these two packages.
    && apt-get download postgresql-common postgresql-client-common \
    && for package in postgresql-*common_*.deb; do dpkg -x "$package" /postgresql-common; done
# To use your own index: --build-arg PIP_INDEX_URL=https://…
ARG PIP_INDEX_URL
WORKDIR /src
COPY .ci/bootstrap.py .ci/
COPY requirements.lock pyproject.toml ./
# Compile here: the runtime user can't write to this folder.
RUN python3 .ci/bootstrap.py /opt/pg-roundtrip --no-cache --compile-bytecode --only-binary :all: -r pyproject.toml
COPY README.md LICENSE ./
COPY blocks blocks
COPY tasks tasks
COPY flows flows
RUN python3 .ci/bootstrap.py /opt/pg-roundtrip --no-cache --compile-bytecode --no-deps .


FROM base
# Where PostgreSQL's programs come from: pgdg, the PostgreSQL project's repository or a mirror of it, with a client for every
# major version; or debian, which has a single version, for databases up to that version.
ARG POSTGRES_SOURCE=pgdg
ARG PGDG_MIRROR=https://apt.postgresql.org/pub/repos/apt
ARG POSTGRES_CLIENTS="14 15 16 17 18"
# Server programs for drills in a throwaway server; the newest can restore backups of all older versions. If empty, drills
# use a scratch database on your own server.
ARG SANDBOX_SERVERS="18"
# Additional Debian packages, such as the extensions that your databases use: "postgresql-18-pgvector".
ARG EXTRA_PACKAGES=""
COPY --from=build /postgresql-common/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc /etc/apt/keyrings/pgdg.asc
# hadolint ignore=DL3008,SC2086
RUN set -eu; \
    case "$POSTGRES_SOURCE" in \
        pgdg) \
            . /etc/os-release; \
            echo "deb [signed-by=/etc/apt/keyrings/pgdg.asc] $PGDG_MIRROR $VERSION_CODENAME-pgdg main" \
                > /etc/apt/sources.list.d/pgdg.list; \
            wanted=$(printf 'postgresql-client-%s ' $POSTGRES_CLIENTS); \
            servers="${SANDBOX_SERVERS:+$(printf 'postgresql-%s ' $SANDBOX_SERVERS)}" ;; \
        debian) wanted=postgresql-client; servers="${SANDBOX_SERVERS:+postgresql}" ;; \
        *) echo "ERROR: POSTGRES_SOURCE is pgdg or debian, not $POSTGRES_SOURCE" >&2; exit 1 ;; \
    esac; \
    # Install the programs without creating a cluster.
    mkdir -p /etc/postgresql-common; \
    echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf; \
    apt-get update --error-on=any; \
    # The repository drops a version some time after its end of life. A newer client can still dump its databases.
    clients=""; \
    for client in $wanted; do \
        if apt-cache show "$client" > /dev/null 2>&1; then clients="$clients $client"; \
        else echo "WARNING: $PGDG_MIRROR has no $client; a newer client does its work" >&2; fi; \
    done; \
    case "$clients" in *"$client") ;; *) echo "ERROR: $PGDG_MIRROR has no $client" >&2; exit 1 ;; esac; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $clients $servers $EXTRA_PACKAGES; \
    # Remove two things that come with the server's package: a publicly known private key, and the JIT compiler, which
    # throwaway servers don't use.
    rm -rf /var/lib/apt/lists/* /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem \
        /usr/lib/*/libLLVM* /usr/lib/*/libz3.* /usr/lib/llvm-* /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit*; \
    useradd --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin pg-roundtrip; \
    # Platforms that run the image as another user keep group 0.
    install -d -o 10001 -g 0 -m 0775 /data
COPY --from=build /opt/pg-roundtrip /opt/pg-roundtrip

# /data can be lost: the bucket is the source of truth. A volume there keeps Prefect's history across restarts.
ENV PATH=/opt/pg-roundtrip/bin:$PATH \
    LANG=C.UTF-8 \
    MALLOC_ARENA_MAX=2 \
    PORT=8080 \
    PREFECT_HOME=/data/prefect \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python3", "-ISc", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=8)"]
# tini reaps orphans and passes SIGTERM only to `serve`, which stops its own children in order.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["pg-roundtrip", "serve"]

ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="pg-roundtrip" \
    org.opencontainers.image.description="PostgreSQL backups to any S3-compatible storage that prove themselves by restore drills" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
