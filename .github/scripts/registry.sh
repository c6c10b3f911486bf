#!/usr/bin/env bash
# Logs docker and cosign in to GitHub's registry with the job's token.
set -euo pipefail

printf '%s' "$GITHUB_TOKEN" | docker login ghcr.io --username "$GITHUB_ACTOR" --password-stdin
