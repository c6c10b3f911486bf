#!/usr/bin/env bash
# Signs IMAGE, a reference by digest, and attaches its SBOM as a signed attestation.
set -euo pipefail

case $IMAGE in
*@sha256:*) ;;
*)
    echo "::error::$IMAGE has no digest: a tag could be moved to another image after it is signed"
    exit 1
    ;;
esac
cosign sign --yes "$IMAGE"
cosign attest --yes --type spdxjson --predicate sbom.spdx.json "$IMAGE"
