#!/usr/bin/env bash
# Tags the images of the tagged commit, the service's and that of its servers, with the version, and with `stable` if no
# release has a higher version. Publishes the version's section of CHANGELOG.md. A version that is not only digits and dots
# is a pre-release, and never `stable`.
set -euo pipefail

scripts=$(dirname "$0")
version=${GITHUB_REF_NAME#v}
if ! grep -qxF "version = \"$version\"" pyproject.toml; then
    echo "::error::the version in pyproject.toml is not that of the tag $GITHUB_REF_NAME"
    exit 1
fi
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
awk -v version="$version" '
    /^## / { inside = $2 == version || $2 == "[" version "]"; next }
    inside
' CHANGELOG.md >"$notes"
if ! grep -q '[^[:space:]]' "$notes"; then
    echo "::error::CHANGELOG.md has no section $version"
    exit 1
fi
released=$(gh release list --limit 1000 --json tagName --jq '.[].tagName')
if grep -qxF "$GITHUB_REF_NAME" <<<"$released"; then
    echo "::error::$GITHUB_REF_NAME is already released: release a fix as a new version"
    exit 1
fi
images=("ghcr.io/${GITHUB_REPOSITORY,,}" "ghcr.io/${GITHUB_REPOSITORY,,}-servers")
names=("$GITHUB_REF_NAME")
kind=(--prerelease)
final='v[0-9]+(\.[0-9]+)*'
if [[ $GITHUB_REF_NAME =~ ^$final$ ]]; then
    kind=(--latest=false)
    newest=$({ echo "$GITHUB_REF_NAME"; grep -xE "$final" <<<"$released" || true; } | sort --version-sort | tail -n 1)
    if [ "$newest" = "$GITHUB_REF_NAME" ]; then # a fix of an older version does not become `stable`
        names+=(stable)
        kind=(--latest)
    fi
fi
"$scripts/registry.sh"
found=()
for image in "${images[@]}"; do
    if ! digest=$(docker buildx imagetools inspect "$image:production-$GITHUB_SHA" --format '{{.Manifest.Digest}}'); then
        echo "::error::No image $image of $GITHUB_SHA has reached production: the approval and the smoke tests come first"
        exit 1
    fi
    found+=("$image@$digest")
done
"$scripts/verify-image.sh" "${found[@]}"
for image in "${found[@]}"; do
    docker buildx imagetools create "${names[@]/#/--tag=${image%@*}:}" "$image"
done
gh release create "$GITHUB_REF_NAME" --verify-tag --title "$GITHUB_REF_NAME" --notes-file "$notes" "${kind[@]}"
