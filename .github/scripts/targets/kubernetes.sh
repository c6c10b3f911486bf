#!/usr/bin/env bash
# `deploy` deploys IMAGE to the cluster in kubectl's context, with the overlay STAGE of deploy/k8s. Its outputs are
# `previous`, the Deployment's revision that ran before (none for the first deployment), which is written before anything
# changes, and `url`. `roll-back REVISION` rolls back to that revision.
set -euo pipefail

overlay=deploy/k8s/$STAGE
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml")
cluster() { kubectl --namespace "$namespace" "$@"; }
case $1 in
deploy)
    previous=$(cluster get deployment support-agent --ignore-not-found \
        --output 'jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}')
    if [ -n "$previous" ]; then
        echo "previous=$previous" >>"$GITHUB_OUTPUT"
    fi
    # Overrides the image in the overlay, by digest.
    sed -i -e "s|^\( *newName:\) .*|\1 ${IMAGE%@*}|" -e "s|^\( *\)newTag: .*|\1digest: ${IMAGE#*@}|" \
        "$overlay/kustomization.yaml"
    cluster apply --kustomize "$overlay"
    cluster rollout status deployment/support-agent --timeout 10m
    host=$(cluster get ingress support-agent --output 'jsonpath={.spec.rules[0].host}')
    echo "url=https://$host" >>"$GITHUB_OUTPUT"
    ;;
roll-back)
    cluster rollout undo deployment/support-agent --to-revision "$2"
    cluster rollout status deployment/support-agent --timeout 10m
    echo "::error::rolled back to $2, because the deployment failed its smoke test"
    ;;
*)
    echo "::error::$1: must be deploy or roll-back" >&2
    exit 2
    ;;
esac
