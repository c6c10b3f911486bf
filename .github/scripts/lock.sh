#!/usr/bin/env bash
# Fails if the locks are not what pyproject.toml resolves to with the versions in them: requirements.lock of the service,
# requirements.sources.lock with the extra `sources`, and requirements.servers.lock of the e-mail and calendar servers. Newer
# versions in the registry are ignored; upgrades are made deliberately.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 - "$folder/pyproject.toml" <<'END'
import json, re, sys

locks = "".join(open(f"requirements{of}.lock").read() for of in ("", ".sources", ".servers"))
versions = sorted({one.strip() for one in re.findall(r"^[\w.-]+==[^\\\n]+", locks, re.MULTILINE)})
project = open("pyproject.toml").read()
constrained = f"[tool.uv]\nconstraint-dependencies = {json.dumps(versions)}\n"
open(sys.argv[1], "w").write(project.replace("[tool.uv]\n", constrained, 1))
END
for lock in requirements.lock requirements.sources.lock requirements.servers.lock; do
    case $lock in
        *.sources.lock) of=(--no-default-groups --extra sources) ;;
        *.servers.lock) of=(--only-group servers) ;;
        *) of=(--no-default-groups) ;;
    esac
    uv export --quiet --project "$folder" "${of[@]}" --no-emit-project --format requirements-txt \
        --output-file "$folder/$lock" ||
        { echo "$lock has versions that pyproject.toml does not allow: run the commands in CONTRIBUTING.md" >&2; exit 1; }
    diff <(grep -v '^ *#' "$lock") <(grep -v '^ *#' "$folder/$lock") ||
        { echo "$lock is stale: run the commands in CONTRIBUTING.md" >&2; exit 1; }
done
