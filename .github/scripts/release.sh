#!/usr/bin/env bash
# Gives the image of the tagged commit the tag's name, and `stable` unless it is a pre-release, and publishes the tag's
# section of CHANGELOG.md.
set -euo pipefail

scripts=$(dirname "$0")
version=${GITHUB_REF_NAME#v}
if ! grep -qxF "version = \"$version\"" pyproject.toml; then
    echo "::error::pyproject.toml has another version than $GITHUB_REF_NAME"
    exit 1
fi
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
awk -v version="$version" '
    /^## / { inside = $2 == version || $2 == "[" version "]"; next }
    inside
' CHANGELOG.md >"$notes"
if ! grep -q . "$notes"; then
    echo "::error::CHANGELOG.md has no section $version"
    exit 1
fi
image=ghcr.io/${GITHUB_REPOSITORY,,}
names=(--tag "$image:$GITHUB_REF_NAME")
kind=(--prerelease)
if [[ $version != *[a-z]* ]]; then
    names+=(--tag "$image:stable")
    kind=(--latest)
fi
"$scripts/registry.sh"
if ! digest=$(docker buildx imagetools inspect "$image:production-$GITHUB_SHA" --format '{{.Manifest.Digest}}'); then
    echo "::error::No image of $GITHUB_SHA has reached production: its smoke tests and its approval come first"
    exit 1
fi
IMAGE="$image@$digest" "$scripts/verify-image.sh"
docker buildx imagetools create "${names[@]}" "$image@$digest"
gh release create "$GITHUB_REF_NAME" --verify-tag --title "$GITHUB_REF_NAME" --notes-file "$notes" "${kind[@]}"
