#!/usr/bin/env bash
# Counts the badly rated answers. It shows their number only, not their content.
set -euo pipefail

if [ -z "${REDIS_URL:-}" ]; then
    echo "::notice::the environment evals has no secret REDIS_URL, so badly rated answers were not counted"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv run support-agent feedback export --output "$folder/cases.yaml" >/dev/null
count=$(grep -c '^- id: ' "$folder/cases.yaml" || true)
cat >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}" <<END
## Badly rated answers: $count

\`support-agent feedback export\` exports them, for people who may read customers' messages.
END
