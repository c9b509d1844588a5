# The page and REST on a CPU; see docs/containers.md. compose.yaml starts it: docker compose up
#     docker build --tag ppdiffusers-ext .
#     docker run --rm --init --publish 127.0.0.1:7860:7860 ppdiffusers-ext
#     docker run --rm ppdiffusers-ext --help          # all commands
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
# Three packages come as source only, and ligo-segments is compiled.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /source
RUN python -m venv /opt/venv
# The packages first: a change of the code installs the code alone.
COPY constraints.txt requirements.txt ./
RUN python -m pip install --upgrade pip -c constraints.txt
RUN python -m pip install -r requirements.txt -c constraints.txt --build-constraint constraints.txt
COPY LICENSE MANIFEST.in setup.py ./
COPY ppdiffusers_ext ppdiffusers_ext
COPY scripts scripts
COPY configs configs
COPY assets assets
RUN python -m pip install '.[server]' -c constraints.txt --build-constraint constraints.txt

FROM python:${PYTHON_VERSION}-slim-bookworm
# OpenCV's wheel is linked against GL and GLib, Paddle's against OpenMP.
RUN apt-get update && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin studio
RUN install --directory --owner=studio --group=studio /data /models /models/loras
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
# A number, by which an orchestrator sees that it is not root.
USER 10001:10001
# Commands look for pretrained_weights here.
WORKDIR /models
VOLUME ["/data", "/models"]
EXPOSE 7860
# Not by urllib, which would ask a proxy of the environment.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 7860, timeout=5); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
# All addresses of the container, so a token is needed: PPDIFFUSERS_EXT_TOKEN, or one that is made and printed.
ENTRYPOINT ["ppdiffusers-ext"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860", "--data", "/data", "--models", "/models", "--loras", "/models/loras"]
