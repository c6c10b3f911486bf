#!/bin/sh
# Writes the secrets of the services in docker-compose.yml to files, in one volume per service: $1/api, $1/redis,
# $1/postgres, $1/observe, $1/email, $1/calendar. Passwords are generated once, and then kept.
set -eu
umask 022 # the services run as different users, and nothing else mounts the volumes
cd "$1"

password() { # FILE: print the password in it, or generate one that needs no escaping
    [ -s "$1" ] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1"
    cat "$1"
}

secret() { # FILE VALUE: an empty value removes the file
    if [ -n "$2" ]; then printf '%s\n' "$2" >"$1"; else rm -f "$1"; fi
}

redis=$(password redis/password)
postgres=$(password postgres/password)
password observe/grafana >/dev/null

secret redis/redis.conf "requirepass $redis"
secret api/REDIS_URL "redis://:$redis@redis:6379/0"
secret api/DATABASE_URL "postgresql://agent:$postgres@postgres:5432/agent"
secret api/OPENAI_API_KEY "$OPENAI_API_KEY"
secret api/SUPPORT_EMBEDDING_API_KEY "${SUPPORT_EMBEDDING_API_KEY:-}"
secret api/SUPPORT_HANDOFF_SECRET "${SUPPORT_HANDOFF_SECRET:-}"
secret api/SUPPORT_VISITOR_SECRET "${SUPPORT_VISITOR_SECRET:-}"
secret api/LANGSMITH_API_KEY "${LANGSMITH_API_KEY:-}"
secret email/MCP_EMAIL_SMTP_PASSWORD "${MCP_EMAIL_SMTP_PASSWORD:-}"
secret calendar/MCP_CALENDAR_PASSWORD "${MCP_CALENDAR_PASSWORD:-}"
secret observe/operator.key "${OPERATOR_KEY:-none}" # a service without API keys accepts any

# The tokens of the servers in docker-compose.yml that SUPPORT_MCP_SERVERS names; SUPPORT_MCP_TOKENS has those of others.
email=$(password email/MCP_EMAIL_TOKEN)
calendar=$(password calendar/MCP_CALENDAR_TOKEN)
tokens=${SUPPORT_MCP_TOKENS:-}
case "${SUPPORT_MCP_SERVERS:-}" in *email=http://mcp-email:*) tokens="${tokens:+$tokens,}email=$email" ;; esac
case "${SUPPORT_MCP_SERVERS:-}" in *calendar=http://mcp-calendar:*) tokens="${tokens:+$tokens,}calendar=$calendar" ;; esac
secret api/SUPPORT_MCP_TOKENS "$tokens"
