#!/usr/bin/env bash
# `deploy` brings IMAGE to Cloud Run, in PROJECT and REGION. Its outputs: `previous`, the revision that served before
# (none at the first time), written before anything changes, and the `url`. `roll-back REVISION` sends all
# requests to that one again; the next deployment undoes that.
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
    # shellcheck disable=SC2016 # envsubst takes the names of what it may fill in
    envsubst '$IMAGE $PROJECT $REGION' <deploy/cloudrun/service.yaml |
        gcloud run services replace - --project "$PROJECT" --region "$REGION"
    url=$(gcloud run services describe "${service[@]}" --format 'value(status.url)')
    echo "url=$url" >>"$GITHUB_OUTPUT"
    ;;
roll-back)
    gcloud run services update-traffic "${service[@]}" --to-revisions "$2=100"
    echo "::error::rolled back to $2: what was deployed did not pass its smoke test"
    ;;
*)
    echo "::error::$1: neither deploy nor roll-back" >&2
    exit 2
    ;;
esac
