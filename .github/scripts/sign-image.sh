#!/usr/bin/env bash
# sign-image.sh IMAGE SBOM: signs an image, a reference by digest, and attaches its SBOM as a signed attestation.
set -euo pipefail

case $1 in
*@sha256:*) ;;
*)
    echo "::error::$1 has no digest: a tag could be moved to another image after it is signed"
    exit 1
    ;;
esac
cosign sign --yes "$1"
cosign attest --yes --type spdxjson --predicate "$2" "$1"
