# The serving image: no torch, no root. docker build -t cxrserve . && docker run -p 8000:8000 cxrserve
# The station: docker run -p 8000:8000 -p 11112:11112 -v archive:/archive -e CXRSERVE_ARCHIVE=/archive
#              -e CXRSERVE_TOKEN=... -v ./rules.yaml:/rules.yaml:ro -e CXRSERVE_RULES=/rules.yaml cxrserve pacs serve
# Another bundle: docker run -v /path/to/bundle:/bundle:ro -e CXRSERVE_BUNDLE=/bundle ...
# On a GPU (--build-arg EXTRAS=gpu,pacs): build its engines once, into a volume.
#              docker run --gpus all -v engines:/cache -v /path/to/bundle:/bundle:ro cxrserve models build /bundle
#              docker run --gpus all -v engines:/cache -v /path/to/bundle:/bundle:ro -e CXRSERVE_BUNDLE=/bundle ...
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
# Extras of pyproject.toml: pacs for the station, oidc for single sign-on; gpu,pacs,oidc with TensorRT.
ARG EXTRAS="pacs,oidc,signing"
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY deploy/constraints.txt deploy/requirements.txt deploy/requirements-build.txt deploy/
# Every library by its hash. What other extras need besides comes by version alone.
RUN python -m venv /opt/cxrserve \
 && python -m pip install --no-cache-dir --require-hashes --requirement deploy/requirements-build.txt \
 && /opt/cxrserve/bin/python -m pip install --no-cache-dir --require-hashes --requirement deploy/requirements.txt
COPY cxrserve cxrserve
COPY training training
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/cxrserve/bin/python -m pip install --no-cache-dir --constraint deploy/constraints.txt \
    "$(ls /wheel/cxrserve-*.whl)${EXTRAS:+[${EXTRAS}]}"

FROM python:${PYTHON_VERSION}-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin cxrserve \
 && install --directory --owner cxrserve --mode 0700 /archive /cache
COPY --from=build /opt/cxrserve /opt/cxrserve
COPY deploy/sbom.py /opt/cxrserve/sbom.py
ARG EXTRAS="pacs,oidc,signing"
RUN /opt/cxrserve/bin/python /opt/cxrserve/sbom.py --system --extras "${EXTRAS}" > /opt/cxrserve/sbom.cdx.json
COPY models/demo /models/demo
ENV PATH=/opt/cxrserve/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/cache \
    CXRSERVE_BUNDLE=/models/demo \
    CXRSERVE_HOST=0.0.0.0 \
    CXRSERVE_INSECURE_HTTP=true \
    CXRSERVE_PORT=8000
USER 10001
EXPOSE 8000 11112
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['CXRSERVE_PORT']}/readyz\", timeout=4)"]
ENTRYPOINT ["cxrserve"]
CMD ["serve"]
