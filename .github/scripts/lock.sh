#!/usr/bin/env bash
# Fails where requirements.lock is not what pyproject.toml resolves to.
set -euo pipefail

exported=$(mktemp)
trap 'rm -f "$exported"' EXIT
uv export --quiet --no-default-groups --no-emit-project --format requirements-txt --output-file "$exported"
diff <(grep -v '^#' requirements.lock) <(grep -v '^#' "$exported") ||
    { echo "requirements.lock is stale: run the command in CONTRIBUTING.md" >&2; exit 1; }
