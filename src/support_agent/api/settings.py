"""What the service can be told through the environment, beside the agent's own settings."""

from pydantic import Field

from support_agent.graph.settings import AgentSettings


class ServiceSettings(AgentSettings):
    """Settings of the front door."""

    max_body: int = Field(default=65_536, ge=1024, alias="SUPPORT_MAX_BODY")
    """Bytes of a request's body."""
