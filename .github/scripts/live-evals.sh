#!/usr/bin/env bash
# Evaluates the live model against the live baseline. Without a baseline it creates one, and sets the output `baseline`.
set -euo pipefail

if [ -z "${OPENAI_API_KEY:-}" ]; then
    echo "::error::the environment evals has no secret OPENAI_API_KEY, so this would evaluate the offline model"
    exit 1
fi
baseline=.baseline/live.json
arguments=(--repeat 3 --baseline "$baseline")
if [ ! -f "$baseline" ]; then
    echo "::notice::there is no live baseline for these cases yet, so this run creates it"
    echo "baseline=new" >>"${GITHUB_OUTPUT:-/dev/null}"
    arguments+=(--update-baseline)
fi
"$(dirname "$0")/evals.sh" "${arguments[@]}"
