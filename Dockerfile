# One build, several images: `gateway` (Envoy with the module), `store`, `simulator`, and `module` for init containers.
# docker-compose.yml builds them; by hand: docker build --target gateway -t private-number-gateway .
# Works with BuildKit and without.
#
# What changes rarely comes first: the toolchain, the crates, the sources, envoy.yaml. An edit of envoy.yaml compiles nothing.

# Where the base images come from: a mirror of Docker Hub, where that cannot be reached. See "Building behind mirrors" in
# docs/operations.md for all arguments of this kind.
ARG REGISTRY=docker.io

# The manifests of all packages, with empty sources in place of the real ones. The result is the same until a manifest changes.
FROM ${REGISTRY}/library/debian:bookworm-slim AS manifests
WORKDIR /all
COPY . .
RUN find . -name Cargo.toml | while read -r manifest; do \
      package="$(dirname "$manifest")" \
      && mkdir -p "/manifests/$package/src" \
      && cp "$manifest" "/manifests/$package/" \
      && if [ -f "$package/src/lib.rs" ]; then : > "/manifests/$package/src/lib.rs"; fi \
      && if [ -f "$package/src/main.rs" ]; then echo 'fn main() {}' > "/manifests/$package/src/main.rs"; fi; \
    done \
    && cp Cargo.lock /manifests/

FROM ${REGISTRY}/library/rust:1.95-bookworm AS crates
WORKDIR /build
ARG RUSTUP_DIST_SERVER=https://static.rust-lang.org
RUN rustup target add wasm32-wasip1
# A mirror of crates.io, as cargo names it: sparse+https://…/
ARG CRATES=
RUN if [ -n "$CRATES" ]; then \
      printf '[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\nregistry = "%s"\n' "$CRATES" \
        >> "${CARGO_HOME:-$HOME/.cargo}/config.toml"; \
    fi
COPY --from=manifests /manifests .
RUN cargo fetch --locked
# The same flags as `cargo xtask package` sets: no directory of the build is named in the module, so that the same commit gives
# the same bytes everywhere.
RUN flags="--remap-path-prefix=/build=/private-number-gateway" \
    && for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do \
         flags="$flags --remap-path-prefix=$registry=/crates"; \
       done \
    && rust="$(rustc --print sysroot)/lib/rustlib/src/rust" \
    && flags="$flags --remap-path-prefix=$rust=/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')" \
    && echo "$flags" > /flags

# The crates that the module needs are compiled before its own sources come, so that they are compiled once.
FROM crates AS build-module
RUN RUSTFLAGS="$(cat /flags)" \
    cargo build --locked --profile module --target wasm32-wasip1 -p private-number-gateway --lib
COPY contract contract
COPY cdr cdr
COPY src src
# Which commit this is: the module says so in Envoy's log. --build-arg COMMIT=$(git rev-parse HEAD)
ARG COMMIT=unknown
# The sources are older than what was compiled in their place, so cargo would not look at them.
RUN find contract cdr src -name '*.rs' -exec touch {} + \
    && RUSTFLAGS="$(cat /flags)" PRIVATENUMBER_COMMIT="${COMMIT:-unknown}" PRIVATENUMBER_PROFILE=module \
       cargo build --locked --profile module --target wasm32-wasip1 -p private-number-gateway --lib \
    && mkdir /built \
    && cp target/wasm32-wasip1/module/private_number_gateway.wasm /built/

FROM crates AS build-programs
RUN cargo build --locked --release -p privatenumber-store -p privatenumber-sim
COPY contract contract
COPY cdr cdr
COPY simulator simulator
COPY store store
RUN find contract cdr simulator store -name '*.rs' -exec touch {} + \
    && cargo build --locked --release -p privatenumber-store -p privatenumber-sim \
    && mkdir /built \
    && cp target/release/privatenumber-store target/release/privatenumber-sim /built/

FROM ${REGISTRY}/envoyproxy/envoy:v1.40.0 AS gateway
COPY --from=build-module /built/private_number_gateway.wasm /etc/envoy/
COPY envoy.yaml /tmp/shipped/
COPY deploy/containers /tmp/containers/
# Nothing of a machine's own may be left, whether addresses.sed or you have changed it, and Envoy must accept the result.
RUN cd /tmp/containers \
    && sed -f addresses.sed /tmp/shipped/envoy.yaml > addressed.yaml \
    && if grep -nE 'address: 127\.0\.0\.1,|filename: target/' addressed.yaml | grep -v 'port_value: 9901'; \
       then echo 'envoy.yaml: these lines are meant for one machine; see deploy/containers/addresses.sed' >&2; exit 1; fi \
    && sed -e '/^  listeners:$/r metrics-listener.yaml' -e '/^  clusters:$/r admin-cluster.yaml' addressed.yaml \
       > /etc/envoy/envoy.yaml \
    && grep -q 'name: metrics' /etc/envoy/envoy.yaml && grep -q 'name: admin' /etc/envoy/envoy.yaml \
    && HUAWEI_APP_SECRET=only-to-validate envoy --mode validate -c /etc/envoy/envoy.yaml \
    && install -m 755 with-business.sh /usr/local/bin/ \
    && rm -r /tmp/shipped /tmp/containers
# Envoy's own user in the official image, by number: Kubernetes cannot tell from a name that it is not root.
USER 101:101
EXPOSE 10000 9902
ENTRYPOINT ["envoy"]
CMD ["-c", "/etc/envoy/envoy.yaml", "--disable-hot-restart"]

FROM ${REGISTRY}/library/debian:bookworm-slim AS store
RUN useradd --system --uid 10001 --no-create-home privatenumber \
    && install -d -o privatenumber -g privatenumber -m 0700 /data
COPY --from=build-programs /built/privatenumber-store /usr/local/bin/
USER 10001
VOLUME /data
EXPOSE 8090
ENTRYPOINT ["privatenumber-store"]
CMD ["--listen", "0.0.0.0:8090", "--data", "/data/privatenumber.sqlite3"]

FROM ${REGISTRY}/library/debian:bookworm-slim AS simulator
RUN useradd --system --uid 10002 --no-create-home privatenumber
COPY --from=build-programs /built/privatenumber-sim /usr/local/bin/
USER 10002
EXPOSE 8091
ENTRYPOINT ["privatenumber-sim"]
CMD ["business", "--listen", "0.0.0.0:8091", "--print"]

# For an init container: copies the module into the volume that the proxy's container has as well, and ends. Mount the volume
# at /module; the file there is plugin.wasm. Written beside and moved, so that no proxy ever reads half of it.
FROM ${REGISTRY}/library/debian:bookworm-slim AS module
# A new volume of Docker's takes its owner from here. Without any volume the copy would be lost, so that is an error.
RUN install -d -o 65534 -g 65534 /module
COPY --from=build-module /built/private_number_gateway.wasm /plugin.wasm
USER 65534
CMD ["sh", "-c", "mountpoint -q /module || { echo 'error: mount the volume that the proxy has as well at /module' >&2; exit 1; }; cp /plugin.wasm /module/.plugin.wasm && mv /module/.plugin.wasm /module/plugin.wasm"]
