#!/usr/bin/env bash
# Posts a report, its argument, to the pull request: updates the comment that begins with the report's marker, or creates
# one. Reads REPOSITORY and PULL_REQUEST. The pull request's code wrote the report, so it is untrusted and only text.
set -euo pipefail
export LC_ALL=C.UTF-8 # so that the length below is in characters, not bytes

marker='<!-- support-agent eval -->'
longest=60000 # GitHub refuses a comment of more than 65,536 characters
report=$1
if [ ! -f "$report" ] || [ -L "$report" ]; then
    echo "::error::$report is not a file"
    exit 1
fi
text=$(<"$report")
if [[ $text != "$marker"* ]]; then
    echo "::error::$report does not begin with $marker, so the next report could not find this comment"
    exit 1
fi
if ((${#text} > longest)); then
    text=${text:0:longest}$'\n\n(truncated; the artifact has the whole report)'
fi
body=$(mktemp)
trap 'rm -f "$body"' EXIT
printf '%s\n' "$text" >"$body"

# Anybody can write the marker, so also check the author.
ours=$(gh api --paginate --slurp "repos/$REPOSITORY/issues/$PULL_REQUEST/comments?per_page=100" | python3 -c '
import json, sys

for page in json.load(sys.stdin):
    for comment in page:
        author = (comment["user"] or {}).get("login")
        if author == "github-actions[bot]" and (comment["body"] or "").startswith(sys.argv[1]):
            print(comment["id"])
            sys.exit()
' "$marker")
if [ -n "$ours" ]; then
    gh api --silent --method PATCH "repos/$REPOSITORY/issues/comments/$ours" -F "body=@$body"
else
    gh api --silent --method POST "repos/$REPOSITORY/issues/$PULL_REQUEST/comments" -F "body=@$body"
fi
