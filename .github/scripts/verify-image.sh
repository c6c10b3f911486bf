#!/usr/bin/env bash
# Fails unless IMAGE, a reference by digest, was signed by this repository's workflow Deploy on main.
set -euo pipefail

"$(dirname "$0")/registry.sh"
cosign verify --output text \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/.github/workflows/deploy.yml@refs/heads/main" \
    "$IMAGE"
