#!/usr/bin/env bash
# build-image.sh DOCKERFILE [SUFFIX]: builds an image and pushes it with its SBOM and provenance, to the repository's name
# with the suffix. The output `image` is its reference by digest. The commit is its only tag; releases add theirs. A second
# build of a commit gets a new digest.
set -euo pipefail

image=ghcr.io/${GITHUB_REPOSITORY,,}${2:-}
"$(dirname "$0")/registry.sh"
docker buildx create --use >/dev/null
docker buildx build --push --pull --sbom=true --provenance=mode=max --metadata-file metadata.json --file "$1" \
    --build-arg "VERSION=sha-$GITHUB_SHA" --build-arg "REVISION=$GITHUB_SHA" \
    --build-arg "SOURCE=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY" \
    --tag "$image:sha-$GITHUB_SHA" .
digest=$(python3 -c 'import json; print(json.load(open("metadata.json"))["containerimage.digest"])')
docker buildx imagetools inspect "$image@$digest" --format '{{json .SBOM.SPDX}}' >"sbom${2:-}.spdx.json"
echo "image=$image@$digest" >>"$GITHUB_OUTPUT"
