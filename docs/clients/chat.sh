#!/usr/bin/env bash
# A conversation over POST /chat with curl 7.71 or later, and jq. Each line of the input is a message.
#
#   AGENT_KEY=sa_… docs/clients/chat.sh http://localhost:8000
#
# curl itself tries again after a lost connection, and after 429 and 503, when Retry-After says so. A request that is
# repeated has the same Idempotency-Key, so the message is answered once.
set -euo pipefail

url=${1:-http://localhost:8000}
response=$(mktemp)
trap 'rm -f "$response"' EXIT
session=

post() { # prints the status, 000 where there is no answer
  # The key comes from a file descriptor: arguments are seen by everybody on this computer.
  curl --silent --show-error --max-time 90 --retry 5 --retry-all-errors --retry-max-time 120 \
    --header @<(printf '%s' "${AGENT_KEY:+Authorization: Bearer $AGENT_KEY}") \
    --header "Content-Type: application/json" --header "Idempotency-Key: $1" \
    --data "$2" --output "$response" --write-out '%{http_code}' "$url/chat" || true
}

while IFS= read -r message || [[ $message ]]; do
  body=$(jq --null-input --arg message "$message" --arg session_id "$session" \
    '{$message} + if $session_id == "" then {} else {$session_id} end')
  key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  for _ in {1..30}; do # seconds that the previous message may still be answered
    status=$(post "$key" "$body")
    [[ $status == 409 ]] || break
    sleep 1
  done
  case $status in
    200)
      session=$(jq --raw-output .session_id "$response")
      jq --raw-output .answer "$response"
      ;;
    000) exit 1 ;; # curl has said why
    *) jq --raw-output '"\(.title): \(.detail)"' "$response" >&2 ;;
  esac
done
