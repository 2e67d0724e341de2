# lipstitch on a machine without a GPU. Build and use:
#
#     docker build -t lipstitch .
#     docker run --rm -v "$PWD:/work" -v lipstitch-weights:/weights lipstitch talk.mp4 talk.hi.wav -o talk.hi.mp4
#
# Files of other users than 1000 in /work: add --user "$(id -u):$(id -g)".

FROM python:3.12-slim-bookworm AS build
# PyTorch's build for machines without CUDA is a fraction of the usual one; uv knows it by this name.
ARG TORCH=cpu
RUN pip install --no-cache-dir uv
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY checkpoints checkpoints
COPY configs configs
COPY lipstitch lipstitch
COPY media media
COPY renderer renderer
COPY segmenter segmenter
COPY stitcher stitcher
RUN uv venv /opt/lipstitch \
    && uv pip install --no-cache --python /opt/lipstitch/bin/python --torch-backend "$TORCH" '.[service,studio]'

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home lipstitch \
    && mkdir /weights /work /service \
    && chown lipstitch:lipstitch /weights /work /service \
    && chmod 1777 /weights
COPY --from=build /opt/lipstitch /opt/lipstitch
# Weights that are downloaded go to the user's cache folder, which is this volume.
ENV PATH=/opt/lipstitch/bin:$PATH XDG_CACHE_HOME=/weights
VOLUME /weights
USER lipstitch
WORKDIR /work
ENTRYPOINT ["lipstitch"]
CMD ["--help"]
