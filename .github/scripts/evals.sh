#!/usr/bin/env bash
# Evaluates the agent, adds the report to the run's summary, and exits as `support-agent eval` does, with 0, 1 or 2.
# Passes its arguments to `support-agent eval`.
set -euo pipefail

folder=eval-report
report=$folder/report.md
rm -f "$report"
status=0
uv run support-agent eval --report "$folder" "$@" || status=$?
if [ ! -f "$report" ]; then # so that the report of an earlier commit is not taken for this one's
    mkdir -p "$folder"
    cat >"$report" <<END
<!-- support-agent eval -->

## Evaluation: nothing measured

\`support-agent eval\` exited with status $status. See the log of this run for the reason.
END
fi
cat "$report" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$status"
