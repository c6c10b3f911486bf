#!/usr/bin/env bash
# Fails if a library in api/static/vendor is not, byte for byte, what npm publishes of the version that SOURCES names.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
while read -r _ kept package published; do
    archive=$(npm pack --silent --pack-destination "$folder" "$package")
    tar -xzOf "$folder/$archive" "package/$published" | cmp - "api/static/vendor/$kept"
done <api/static/vendor/SOURCES
