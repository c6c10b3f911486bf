#!/usr/bin/env bash
# Sends all requests to the revision PREVIOUS again; the next deployment undoes that.
set -euo pipefail

gcloud run services update-traffic support-agent --project "$PROJECT" --region "$REGION" \
    --to-revisions "$PREVIOUS=100"
echo "::error::rolled back to $PREVIOUS: the new revision did not pass its smoke test"
