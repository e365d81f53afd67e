# difftool in a container, as a user without rights. docs/docker.md says how to run it.
#
# Not built here: written and checked with hadolint on a machine that cannot run containers.
FROM python:3.11-slim

# PyTorch as PyPI has it: it computes on the CPU, and on an NVIDIA GPU with driver 580 or newer. ffmpeg and libsndfile
# come with the packages.
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY docs/difftool.1 docs/
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt .

# open to all, so that --user works with any number
RUN useradd --uid 1000 --no-create-home --home-dir /home/difftool difftool \
    && install --directory --mode 0777 /home/difftool /models /voices /work
ENV HOME=/home/difftool \
    DIFFTOOL_MODELS_DIR=/models \
    DIFFTOOL_VOICES_DIR=/voices
USER 1000
WORKDIR /work
VOLUME ["/models", "/voices", "/work"]
ENTRYPOINT ["difftool"]
CMD ["--help"]
