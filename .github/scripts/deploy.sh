#!/usr/bin/env bash
# Deploys IMAGE to Cloud Run, in PROJECT and REGION. Its outputs: `previous`, the revision that served before (none at
# the first time), written before anything changes, and the `url`.
set -euo pipefail

service=(support-agent --project "$PROJECT" --region "$REGION")
existing=$(gcloud run services list --project "$PROJECT" --region "$REGION" \
    --filter 'metadata.name=support-agent' --format 'value(metadata.name)')
if [ -n "$existing" ]; then
    previous=$(gcloud run services describe "${service[@]}" --format 'value(status.traffic[0].revisionName)')
    echo "previous=$previous" >>"$GITHUB_OUTPUT"
fi
export IMAGE PROJECT REGION
envsubst '$IMAGE $PROJECT $REGION' <deploy/cloudrun/service.yaml |
    gcloud run services replace - --project "$PROJECT" --region "$REGION"
url=$(gcloud run services describe "${service[@]}" --format 'value(status.url)')
echo "url=$url" >>"$GITHUB_OUTPUT"
