# talkover-exporter in a container that holds nothing else: the binary, the shared libraries it is linked with, the authorities it
# trusts, and an empty directory for its state. No shell, no package manager. CONTRIBUTING.md says how it is proven.
#
# Libraries rather than a static build: glibc's resolver and an allocator made for threads, as the tests have them. The price of a
# final stage without a distribution is that a scanner sees no packages in it; a fix of glibc or of the authorities needs a new build.
#
#   docker build --build-arg REVISION="$(git rev-parse --short HEAD)" -t talkover-exporter .
#   docker run --read-only --cap-drop=ALL -p 9877:9877 -v talkover-state:/var/lib/talkover-exporter \
#       -v ./talkover.yml:/etc/talkover-exporter/talkover.yml:ro -v ./token:/run/secrets/talkover-token:ro talkover-exporter

# Needs a Rust toolchain (the version of rust-toolchain.toml), a C compiler, and ca-certificates. The image runs with this one's glibc.
ARG BASE=docker.io/library/rust:1.95.0-slim-bookworm

# Compiles the dependencies, and nothing of ours: built again only when one of the manifests has changed.
FROM ${BASE} AS dependencies
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY crates/core/Cargo.toml crates/core/
COPY crates/settings/Cargo.toml crates/settings/
COPY crates/simulator/Cargo.toml crates/simulator/
# Empty targets in the place of ours, as cargo wants to see what the manifest names; what comes of them is removed, so that no file's
# date decides whether the real ones are compiled.
RUN mkdir src benches crates/core/src crates/settings/src crates/simulator/src \
    && touch src/lib.rs crates/core/src/lib.rs crates/settings/src/lib.rs crates/simulator/src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && sed -n '/^\[\[bench\]\]/,/^name/ s/^name = "\(.*\)"/benches\/\1.rs/p' Cargo.toml | xargs --no-run-if-empty touch \
    && cargo build --release --locked \
    && cargo clean --release --workspace

FROM dependencies AS compile
COPY build.rs ./
COPY crates crates
COPY src src
# These three are in the binary: defaults, scenarios of the simulator, dashboards and rules.
COPY config config
COPY dashboards dashboards
# The commit, for `--version` and the metric talkover_exporter_build_info: the build context has no repository.
ARG REVISION=unknown
RUN TALKOVER_EXPORTER_REVISION="${REVISION}" cargo build --release --locked \
    && mkdir /binary \
    && mv target/release/talkover-exporter /binary/

# What the final image consists of. `--build-context compile=DIRECTORY` puts DIRECTORY/binary/talkover-exporter in the place of a
# binary compiled here.
FROM ${BASE} AS files
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /files
COPY --from=compile /binary/talkover-exporter usr/local/bin/
# The loader is among what ldd prints. -L: the libraries themselves, where their paths are links.
RUN ldd usr/local/bin/talkover-exporter | grep -o '/[^ ]*' | xargs cp -L --parents --target-directory=. \
    && mkdir -p etc/ssl/certs /state \
    && cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="talkover-exporter" \
      org.opencontainers.image.description="Prometheus exporter for TalkOver webhook delivery logs: every attempt counted exactly once" \
      org.opencontainers.image.source="https://github.com/talkover-exporter/talkover-exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=files /files /
COPY --from=files --chown=65532:65532 /state /var/lib/talkover-exporter
# Numeric, so that Kubernetes can tell that it is not root. Nobody's on a usual host.
USER 65532:65532
# Where the state's default path, ./data/, leads; and the only place that can be written to under a read-only root, so temporary
# files (the demo's state, and SQLite's) go there, too.
WORKDIR /var/lib/talkover-exporter
ENV TMPDIR=/var/lib/talkover-exporter
# glibc gives each thread a heap of its own, up to eight for each processor, and what one frees is not used by the others: twice the
# memory after an hour. Two are enough, as one thread at a time works with the state.
ENV MALLOC_ARENA_MAX=2
VOLUME ["/var/lib/talkover-exporter"]
EXPOSE 9877
# Alive, not ready: a daemon that waits for an API that is down must not be restarted for it. Where the configuration moves the port or
# sets up TLS, the check needs its --url: in compose as `test: [CMD, talkover-exporter, healthcheck, --url, "https://127.0.0.1:9877"]`.
# (`docker run --health-cmd` wants a shell, which is not here.)
HEALTHCHECK --interval=30s --timeout=6s --start-period=15s --retries=3 \
    CMD ["/usr/local/bin/talkover-exporter", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/talkover-exporter"]
CMD ["run", "--config", "/etc/talkover-exporter/talkover.yml"]
