#!/usr/bin/env bash
# `deploy` brings IMAGE to the cluster that kubectl is set to, by the overlay STAGE of deploy/k8s. Its outputs:
# `previous`, the revision of the deployment that ran before (none at the first time), written before anything changes,
# and the `url`. `roll-back REVISION` goes back to that one.
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
    # The image by its digest, over what the overlay names.
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
    echo "::error::rolled back to $2: what was deployed did not pass its smoke test"
    ;;
*)
    echo "::error::$1: neither deploy nor roll-back" >&2
    exit 2
    ;;
esac
