#!/usr/bin/env bash
# Runs the smoke test in IMAGE against URL with the API key SMOKE_KEY, and adds its output to the run's summary.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '%s' "$SMOKE_KEY" >"$folder/key"
chmod 444 "$folder/key" # the image has another user
status=0
docker run --rm --volume "$folder/key:/key:ro" --entrypoint python "$IMAGE" \
    deploy/smoke.py "$URL" --key-file /key | tee "$folder/lines" || status=$?
{
    echo "## Smoke test of $URL"
    sed 's/^/    /' "$folder/lines"
} >>"$GITHUB_STEP_SUMMARY"
exit "$status"
