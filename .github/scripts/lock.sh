#!/usr/bin/env bash
# Fails if requirements.lock is not what pyproject.toml resolves to with the versions in the lock. Newer versions in the
# registry are ignored; upgrades are made deliberately.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 - "$folder/pyproject.toml" <<'END'
import json, re, sys

versions = re.findall(r"^[\w.-]+==[^\\\n]+", open("requirements.lock").read(), re.MULTILINE)
project = open("pyproject.toml").read()
constrained = f"[tool.uv]\nconstraint-dependencies = {json.dumps([one.strip() for one in versions])}\n"
open(sys.argv[1], "w").write(project.replace("[tool.uv]\n", constrained, 1))
END
uv export --quiet --project "$folder" --no-default-groups --no-emit-project --format requirements-txt \
    --output-file "$folder/requirements.lock" ||
    { echo "requirements.lock has versions that pyproject.toml does not allow: run the command in CONTRIBUTING.md" >&2; exit 1; }
diff <(grep -v '^ *#' requirements.lock) <(grep -v '^ *#' "$folder/requirements.lock") ||
    { echo "requirements.lock is stale: run the command in CONTRIBUTING.md" >&2; exit 1; }
