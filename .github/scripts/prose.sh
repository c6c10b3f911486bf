#!/usr/bin/env bash
# Checks the prose of README.md, CONTRIBUTING.md, CHANGELOG.md and docs/, or of the files that are its arguments, by
# .textlintrc.yml. Needs node 20.18 or later, and npm's registry once.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(textlint@15.8.0 textlint-rule-prh@6.1.0 textlint-rule-sentence-length@5.2.1 textlint-rule-write-good@2.0.0)
# Fixes the versions of their dependencies, like exclude-newer in pyproject.toml. A lock file would record where packages
# were downloaded from.
before=2026-11-20
installed=node_modules/.prose
if [ "$(cat "$installed" 2>/dev/null)" != "$before ${packages[*]}" ]; then
    npm install --prefix . --no-package-lock --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        --before "$before" "${packages[@]}" >/dev/null
    echo "$before ${packages[*]}" >"$installed"
fi
[ $# -gt 0 ] || set -- README.md CONTRIBUTING.md CHANGELOG.md 'docs/**/*.md'
node_modules/.bin/textlint --format unix "$@"
