# Updates the lock of the Debian packages; the output is the new debian.lock.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS lock
COPY scripts/image/debian.lock scripts/image/update-lock.sh /image/
RUN mkdir /out && /image/update-lock.sh /image/debian.lock /out/debian.lock
FROM scratch
COPY --from=lock /out/ /
