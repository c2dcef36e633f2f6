# syntax=docker/dockerfile:1

# ── build ────────────────────────────────────────────────────────────────────────────────────────────────────────────
# The slim image has the C compiler that the TLS library needs, and nothing else is needed.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin conversion-relay \
    && cp target/release/conversion-relay /conversion-relay

# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
FROM debian:bookworm-slim
# Certificates: the relay trusts what the system trusts.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin relay \
    && install -d -o relay -g relay -m 0750 /data
COPY --from=build /conversion-relay /usr/local/bin/conversion-relay
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/conversion-relay/

USER 10001:10001
VOLUME /data
# Environment beats file. The admin listener stays on the container's loopback: reach it with `docker exec`, or set
# RELAY__ADMIN__LISTEN and RELAY__ADMIN__TOKEN.
ENV RELAY__PUBLIC__LISTEN=0.0.0.0:8080 \
    RELAY__STORE__PATH=/data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["conversion-relay", "health"]
# The drain takes up to `delivery.drain`: give `docker stop` more than that (`--time 30`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["conversion-relay"]
CMD ["serve"]
