#!/usr/bin/env bash
# Lets docker and cosign use GitHub's registry, with the job's own token.
set -euo pipefail

printf '%s' "$GITHUB_TOKEN" | docker login ghcr.io --username "$GITHUB_ACTOR" --password-stdin
