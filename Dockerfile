# The service without build, test and development tools. Both base images need the same Python at the same path.
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
COPY requirements.lock requirements.sources.lock ./
# `sources` also reads PDF, DOCX and web sites.
ARG EXTRAS=
# No cache mounts: some platforms' builders refuse them.
RUN uv venv .venv \
    && uv pip install --python .venv --no-deps --require-hashes --requirements "requirements${EXTRAS:+.$EXTRAS}.lock"
# Removes files that are never loaded: tests, inputs of compilers and type checkers, zstandard's CFFI backend, the languages
# that nothing here highlights (a traceback is Python), interfaces of OpenAI's, LangSmith's and redisvl's that nothing here uses
# and that their packages load only when used, debug symbols. The libraries of numpy and psycopg keep their symbols, because
# strip breaks libraries that patchelf changed.
RUN find .venv -type d '(' -name tests -o -path '*/numpy/f2py' -o -path '*/langsmith/sandbox' -o -path '*/redisvl/cli' \
        -o -path '*/redisvl/mcp' -o -path '*/redisvl/migration' -o -path '*/openai/*/admin' -o -path '*/openai/*/beta' \
        -o -path '*/openai/*/live' -o -path '*/openai/*/realtime' -o -path '*/openai/resources/containers' \
        -o -path '*/openai/resources/evals' -o -path '*/openai/resources/fine_tuning' -o -path '*/openai/resources/skills' \
        -o -path '*/openai/resources/vector_stores' ')' -prune -exec rm -r {} + \
    && find .venv -type f '(' -name '*.pyi' -o -name '*.[achx]' -o -name '*.cpp' -o -name '*.px[di]' -o -name '*.pyx' \
        -o -path '*/zstandard/_cffi.*' \
        -o -path '*/pygments/lexers/*' ! -name '__init__.*' ! -name '_mapping.*' ! -name 'python.*' ')' -delete \
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
# Makes them readable for the image's user, whatever the clone's umask; some platforms' builders lack `COPY --chmod`.
RUN chmod -R u=rwX,go=rX lib knowledge deploy

FROM ${BASE}
# pip is useless in a read-only file system.
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
# Liveness only; load balancers ask /ready whether the service takes new requests.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-I", "-S", "-c", "import http.client, os; \
    port = ''.join(filter(str.isdigit, os.environ.get('PORT', ''))) or 8000; \
    asked = http.client.HTTPConnection('127.0.0.1', port, timeout=2); \
    asked.request('GET', '/health'); \
    raise SystemExit(asked.getresponse().status != 200)"]
# Python is process 1, so it gets SIGTERM itself; it drains within 9 seconds. One worker: to scale, run more containers.
ENTRYPOINT ["support-agent"]
# It listens on PORT, or 8000.
CMD ["serve", "--host", "0.0.0.0"]

ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="support-agent" \
    org.opencontainers.image.description="A customer-support agent that answers from your own help articles" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}"
