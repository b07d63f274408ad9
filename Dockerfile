# PixelLift in a container: one image for servers, workers and preview workers; the command says which.
#   docker build --target cpu  -t pixellift:cpu .
#   docker build --target cuda -t pixellift:cuda .    (needs NVIDIA's driver and container runtime on the machine)
# Runs as nobody in particular, and on a read-only file system: only DATA_DIR (/data) and /tmp are written.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    OMP_WAIT_POLICY=PASSIVE \
    PATH=/opt/pixellift/bin:$PATH
WORKDIR /srv/pixellift

# What is installed, without compilers and caches: torch for processors is a tenth of the size of torch for GPUs.
FROM base AS packages-cpu
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt .
RUN python -m venv /opt/pixellift && pip install --extra-index-url "${CPU_INDEX}" -r requirements.txt

FROM base AS packages-cuda
COPY requirements.txt .
RUN python -m venv /opt/pixellift && pip install -r requirements.txt

FROM base AS site
RUN groupadd --system --gid 10001 pixellift \
    && useradd --system --uid 10001 --gid pixellift --home-dir /data --no-create-home pixellift \
    && install --directory --owner=pixellift --group=pixellift /data
COPY manage.py LICENSE NOTICE ./
COPY accounts accounts
COPY gallery gallery
COPY ganworks ganworks
COPY pixellift pixellift
COPY static static
COPY templates templates
COPY transforms transforms
COPY deploy/healthcheck.py deploy/healthcheck.py
ENV DATA_DIR=/data \
    STATIC_ROOT=/srv/static \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_JSON=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=3 CMD ["python", "deploy/healthcheck.py"]
CMD ["python", "manage.py", "serve", "--no-prepare"]

FROM site AS cpu
COPY --from=packages-cpu /opt/pixellift /opt/pixellift
RUN SECRET_KEY=only-while-the-image-is-built DATA_DIR=/tmp/build \
    python manage.py collectstatic --no-input -v 0 -i "drf_spectacular_sidecar/redoc/*" -i redoc && rm -rf /tmp/build
USER 10001:10001
VOLUME /data

FROM site AS cuda
COPY --from=packages-cuda /opt/pixellift /opt/pixellift
RUN SECRET_KEY=only-while-the-image-is-built DATA_DIR=/tmp/build \
    python manage.py collectstatic --no-input -v 0 -i "drf_spectacular_sidecar/redoc/*" -i redoc && rm -rf /tmp/build
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
VOLUME /data
