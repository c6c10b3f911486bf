#!/usr/bin/env bash
# verify-image.sh IMAGE ...: fails unless each image, a reference by digest, was signed by this repository's workflow Deploy
# on main.
set -euo pipefail

"$(dirname "$0")/registry.sh"
for image in "$@"; do
    cosign verify --output text \
        --certificate-oidc-issuer https://token.actions.githubusercontent.com \
        --certificate-identity "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/.github/workflows/deploy.yml@refs/heads/main" \
        "$image"
done
