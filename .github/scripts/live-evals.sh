#!/usr/bin/env bash
# Judges the live model by the live baseline, or makes that baseline where there is none yet and tells so in an output.
set -euo pipefail

if [ -z "${OPENAI_API_KEY:-}" ]; then
    echo "::error::the environment evals has no secret OPENAI_API_KEY: without it the offline model would be judged"
    exit 1
fi
baseline=.baseline/live.json
arguments=(--repeat 3 --baseline "$baseline")
if [ ! -f "$baseline" ]; then
    echo "::notice::there is no live baseline of these cases yet: this run is to become it"
    echo "baseline=new" >>"${GITHUB_OUTPUT:-/dev/null}"
    arguments+=(--update-baseline)
fi
"$(dirname "$0")/evals.sh" "${arguments[@]}"
