"""Settings of the e-mail server."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from mcp_servers.settings import ServerSettings


def _address(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", value):
        raise ValueError("not one plain address, such as support@example.com")
    return value


Address = Annotated[str, AfterValidator(_address)]


class EmailSettings(ServerSettings):
    """Settings of the e-mail server."""

    prefix: ClassVar[str] = "MCP_EMAIL_"

    port: int = Field(default=8001, alias="PORT", ge=1, le=65535, description="the port to listen on")
    to: Address = Field(alias="TO", description="the support team's address, the only one that is ever written to")
    sender: Address = Field(alias="FROM", description="the address that e-mails come from")
    smtp_host: str = Field(alias="SMTP_HOST", description="the name of the mail server")
    smtp_port: int = Field(default=587, alias="SMTP_PORT", ge=1, le=65535, description="the mail server's port")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", alias="SMTP_SECURITY", description="starttls, tls (usual on port 465) or none"
    )
    smtp_user: str | None = Field(default=None, alias="SMTP_USER", description="the user name at the mail server")
    smtp_password: SecretStr | None = Field(default=None, alias="SMTP_PASSWORD", description="the user's password")

    @model_validator(mode="after")
    def _has_user_and_password(self) -> Self:
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError(f"{self.prefix}SMTP_USER and {self.prefix}SMTP_PASSWORD: set both, or neither")
        return self

    @property
    def domain(self) -> str:
        """The sender's domain, where message IDs belong."""
        return self.sender.rpartition("@")[2]
