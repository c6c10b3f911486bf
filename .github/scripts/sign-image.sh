#!/usr/bin/env bash
# Signs IMAGE, an address by digest, and says in a signed statement what it holds.
set -euo pipefail

case $IMAGE in
*@sha256:*) ;;
*)
    echo "::error::$IMAGE names no digest: what it stands for may change after it is signed"
    exit 1
    ;;
esac
cosign sign --yes "$IMAGE"
cosign attest --yes --type spdxjson --predicate sbom.spdx.json "$IMAGE"
