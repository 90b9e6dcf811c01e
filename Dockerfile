# Three images from one build: `gateway` (Envoy with the module), `store` and `simulator`. See docker-compose.yml.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches keep rebuilds short; what is needed leaves them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    rustup target add wasm32-wasip1 \
    && cargo build --locked --profile module --target wasm32-wasip1 -p private-number-gateway \
    && cargo build --locked --release -p privatenumber-store -p privatenumber-sim \
    && mkdir /built \
    && cp target/wasm32-wasip1/module/private_number_gateway.wasm /built/ \
    && cp target/release/privatenumber-store target/release/privatenumber-sim /built/

FROM envoyproxy/envoy:v1.40.0 AS gateway
COPY --from=build /built/private_number_gateway.wasm /etc/envoy/
COPY envoy.yaml deploy/containers/addresses.sed /tmp/
# Every line of addresses.sed must have found its place, and Envoy must accept the result.
RUN sed -f /tmp/addresses.sed /tmp/envoy.yaml > /etc/envoy/envoy.yaml \
    && test "$(diff /tmp/envoy.yaml /etc/envoy/envoy.yaml | grep -c '^>')" = 4 \
    && HUAWEI_APP_SECRET=only-to-validate envoy --mode validate -c /etc/envoy/envoy.yaml \
    && rm /tmp/envoy.yaml /tmp/addresses.sed
USER envoy
EXPOSE 10000
ENTRYPOINT ["envoy"]
CMD ["-c", "/etc/envoy/envoy.yaml", "--disable-hot-restart"]

FROM debian:bookworm-slim AS store
RUN useradd --system --uid 10001 --no-create-home privatenumber \
    && install -d -o privatenumber -g privatenumber -m 0700 /data
COPY --from=build /built/privatenumber-store /usr/local/bin/
USER privatenumber
VOLUME /data
EXPOSE 8090
ENTRYPOINT ["privatenumber-store"]
CMD ["--listen", "0.0.0.0:8090", "--data", "/data/privatenumber.sqlite3"]

FROM debian:bookworm-slim AS simulator
RUN useradd --system --uid 10002 --no-create-home privatenumber
COPY --from=build /built/privatenumber-sim /usr/local/bin/
USER privatenumber
EXPOSE 8091
ENTRYPOINT ["privatenumber-sim"]
CMD ["business", "--listen", "0.0.0.0:8091", "--print"]
