#!/usr/bin/env bash
# `deploy` deploys IMAGE, and SERVERS for the e-mail and calendar servers, to the cluster in kubectl's context, with the
# overlay STAGE of deploy/k8s. Its outputs are `previous`, the Deployments' revisions that ran before (none for the first
# deployment), which is written before anything changes, and `url`. `roll-back REVISIONS` rolls back to those.
set -euo pipefail

overlay=deploy/k8s/$STAGE
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml")
cluster() { kubectl --namespace "$namespace" "$@"; }
wait_for() { # DEPLOYMENT; one that has no replicas is there at once
    cluster rollout status "deployment/$1" --timeout 10m
}
use() { # NAME IMAGE: overrides the image in the overlay, by digest
    sed -i -e "/^  - name: $1\$/,/newTag:/{s|^\( *newName:\) .*|\1 ${2%@*}|;s|^\( *\)newTag: .*|\1digest: ${2#*@}|}" \
        "$overlay/kustomization.yaml"
}
deployments=(support-agent support-agent-email support-agent-calendar)
case $1 in
deploy)
    previous=()
    for name in "${deployments[@]}"; do
        revision=$(cluster get deployment "$name" --ignore-not-found \
            --output 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}')
        if [ -n "$revision" ]; then
            previous+=("$name=$revision")
        fi
    done
    if [ "${#previous[@]}" -gt 0 ]; then
        echo "previous=${previous[*]}" >>"$GITHUB_OUTPUT"
    fi
    use support-agent "$IMAGE"
    use support-agent-servers "$SERVERS"
    cluster apply --kustomize "$overlay"
    for name in "${deployments[@]}"; do
        wait_for "$name"
    done
    host=$(cluster get ingress support-agent --output 'jsonpath={.spec.rules[0].host}')
    echo "url=https://$host" >>"$GITHUB_OUTPUT"
    ;;
roll-back)
    for each in $2; do
        cluster rollout undo "deployment/${each%=*}" --to-revision "${each#*=}"
    done
    for each in $2; do
        wait_for "${each%=*}"
    done
    echo "::error::rolled back to $2, because the deployment failed its smoke test"
    ;;
*)
    echo "::error::$1: must be deploy or roll-back" >&2
    exit 2
    ;;
esac
