"""Services for local development, each a child process: Redis, Postgres, Caddy and the offline model."""
