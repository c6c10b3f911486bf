#!/usr/bin/env bash
# `deploy` deploys IMAGE to Cloud Run, in PROJECT and REGION. Its outputs are `previous`, the revision that served before
# (none for the first deployment), which is written before anything changes, and `url`. `roll-back REVISION` sends all
# requests to that revision again, until the next deployment.
set -euo pipefail

service=(support-agent --project "$PROJECT" --region "$REGION")
case $1 in
deploy)
    registry=$REGION-docker.pkg.dev
    gcloud auth configure-docker "$registry" --quiet
    IMAGE=$("$(dirname "$0")/../copy-image.sh" "$registry/$PROJECT/support-agent/api")
    existing=$(gcloud run services list --project "$PROJECT" --region "$REGION" \
        --filter 'metadata.name=support-agent' --format 'value(metadata.name)')
    if [ -n "$existing" ]; then
        previous=$(gcloud run services describe "${service[@]}" --format 'value(status.traffic[0].revisionName)')
        echo "previous=$previous" >>"$GITHUB_OUTPUT"
    fi
    export IMAGE PROJECT REGION
    # shellcheck disable=SC2016 # envsubst expects the names of the variables
    envsubst '$IMAGE $PROJECT $REGION' <deploy/cloudrun/service.yaml |
        gcloud run services replace - --project "$PROJECT" --region "$REGION"
    url=$(gcloud run services describe "${service[@]}" --format 'value(status.url)')
    echo "url=$url" >>"$GITHUB_OUTPUT"
    ;;
roll-back)
    gcloud run services update-traffic "${service[@]}" --to-revisions "$2=100"
    echo "::error::rolled back to $2, because the deployment failed its smoke test"
    ;;
*)
    echo "::error::$1: must be deploy or roll-back" >&2
    exit 2
    ;;
esac
