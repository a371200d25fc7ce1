# The image that clusters run: `docker build .`, `podman build .`, or `make image` (docs/develop/image.md).
ARG BASE=debian:bookworm-slim

# Build tools, and the Debian packages of the image, unpacked, in the versions of the lock.
FROM --platform=$BUILDPLATFORM ${BASE} AS packages
ARG TARGETARCH
ARG DEBIAN_ARCHIVE=
COPY scripts/image/debian.lock scripts/image/unpack-packages.sh /image/
RUN /image/unpack-packages.sh /image/debian.lock "$TARGETARCH" /packages

# The bundle, the CNI binary, and the image's two layers. No program of the target architecture is run.
FROM packages AS build
ARG TARGETARCH
WORKDIR /keelson
COPY package.json package-lock.json .npmrc ./
COPY scripts/image/install-modules.sh /image/
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    --mount=type=secret,id=npm-ca,target=/run/secrets/npm-ca \
    /image/install-modules.sh "$TARGETARCH"
COPY . .
# exact: fails if the archive lacks a locked version; prefer: uses the archive's version instead.
ARG DEBIAN_LOCK=exact
# A new value runs the build again: the output must not change.
ARG REBUILD=
RUN scripts/image/assemble.sh "$TARGETARCH" /packages /layers

# Closure of what runs. What changes from release to release is in the upper, small layer.
FROM scratch
COPY --from=build /layers/system/ /
COPY --from=build /layers/keelson/ /
ENV PATH=/usr/sbin:/usr/bin \
    NODE_OPTIONS="--max-semi-space-size=4 --enable-source-maps --disable-warning=ExperimentalWarning"
ENTRYPOINT ["/usr/bin/node", "/opt/keelson/dist/keelson.mjs"]
ARG REVISION=
LABEL org.opencontainers.image.title="keelson" \
      org.opencontainers.image.description="Storage, pod network and runtime policy of Kubernetes nodes" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
