# The service, and nothing that builds, tests or develops it. Both bases need the same Python in the same place.
ARG BUILD_BASE=python:3.12-trixie
ARG BASE=python:3.12-slim-trixie

FROM ${BUILD_BASE} AS dependencies
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON=/usr/local/bin/python3 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY requirements.lock ./
# No cache mounts: some platforms' builders refuse them.
RUN uv venv .venv \
    && uv pip install --python .venv --no-deps --require-hashes --requirements requirements.lock
# What nothing loads: tests, what compilers and type checkers read, the CFFI twin of zstandard, symbols for debuggers.
# The libraries of numpy and psycopg keep theirs, since what patchelf has changed does not survive strip.
RUN find .venv -type d -name tests -prune -exec rm -r {} + \
    && find .venv -type f '(' -name '*.pyi' -o -name '*.[achx]' -o -name '*.cpp' -o -name '*.px[di]' -o -name '*.pyx' \
        -o -path '*/zstandard/_cffi.*' ')' -delete \
    && find .venv -type f -name '*.so*' -not -path '*/numpy*' -not -path '*/psycopg*' -exec strip --strip-unneeded {} +

FROM dependencies AS application
COPY LICENSE README.md pyproject.toml ./
COPY api api
COPY cli cli
COPY evals evals
COPY graph graph
COPY local local
RUN uv pip install --python .venv --no-deps --target lib .
COPY knowledge knowledge
COPY deploy/smoke.py deploy/smoke.py
# The image's user reads them, whatever the umask of the clone; `COPY --chmod` is not for every platform's builder.
RUN chmod -R u=rwX,go=rX lib knowledge deploy

FROM ${BASE}
# The base's own installer is of no use in a file system that can't be written.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/pip*
WORKDIR /app
ENV PATH=/app/lib/bin:/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app/lib \
    PYTHONUNBUFFERED=1 \
    SUPPORT_ENV=production
COPY --from=dependencies /app/.venv .venv
COPY --from=application /app/lib lib
COPY --from=application /app/knowledge knowledge
COPY --from=application /app/deploy deploy
USER 65532:65532
EXPOSE 8000
# That the process lives; whether it takes new work, load balancers ask /ready.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-I", "-S", "-c", "import http.client; \
    asked = http.client.HTTPConnection('127.0.0.1', 8000, timeout=2); asked.request('GET', '/health'); \
    raise SystemExit(asked.getresponse().status != 200)"]
# Python is process 1 and gets SIGTERM itself; it drains within 9 seconds. One worker: run more containers instead.
ENTRYPOINT ["support-agent"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="support-agent" \
    org.opencontainers.image.description="A customer-support agent that answers from your own help articles" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}"
