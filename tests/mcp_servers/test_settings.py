"""Settings of the servers."""

import re
from pathlib import Path

import pytest

import mcp_servers.settings
from conftest import REPOSITORY
from harness.caldav_server import TeamCalendar
from harness.mail_server import Inbox
from harness.mcp_servers import TOKEN, calendar_settings, email_settings
from mcp_servers.calendar.settings import CalendarSettings
from mcp_servers.email.settings import EmailSettings
from mcp_servers.settings import ServerSettings, SettingsError

EMAIL = email_settings(Inbox(), smtp_port=587)
CALENDAR = calendar_settings(TeamCalendar("https://dav.example.com/team/calls/"))


@pytest.mark.parametrize("name", [*EMAIL, *CALENDAR])
def test_a_missing_setting_is_named(name: str) -> None:
    """In one line that says what it is; the others have defaults."""
    kind: type[ServerSettings] = EmailSettings if name in EMAIL else CalendarSettings
    optional = {"MCP_EMAIL_SMTP_PORT", "MCP_EMAIL_SMTP_SECURITY"}
    given = {**EMAIL, **CALENDAR} | {name: " "}
    if name in optional:
        kind.read(given)
        return
    with pytest.raises(SettingsError, match=f"^{name} is not set: .+") as caught:
        kind.read(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MCP_EMAIL_TOKEN", "short", "at least 16"),
        ("MCP_EMAIL_TO", "Team <team@company.example>", "not one plain address"),
        ("MCP_EMAIL_TO", "team@company.example, boss@company.example", "not one plain address"),
        ("MCP_EMAIL_FROM", "agent@company.example\nBcc: x@y.example", "not one plain address"),
        ("MCP_EMAIL_PORT", "0", "greater than or equal to 1"),
        ("MCP_EMAIL_SMTP_SECURITY", "ssl", "starttls, tls (usual on port 465) or none"),
        ("MCP_EMAIL_SMTP_USER", "agent", "set both, or neither"),
        ("MCP_EMAIL_SMTP_HSOT", "x", "there is no such setting"),
        ("MCP_CALENDAR_URL", "dav.example.com", "URL"),
        ("MCP_CALENDAR_URL", "https://team:secret@dav.example.com/", "settings of their own"),
        ("MCP_CALENDAR_TIME_ZONE", "CEST", "IANA name"),
        ("MCP_CALENDAR_HOURS", "Mon-Fri 9-17", "is not like Mon-Fri 09:00-17:00"),
        ("MCP_CALENDAR_HOURS", "Mon 17:00-09:00", "does not end after it begins"),
        ("MCP_CALENDAR_HOURS", "Mon 09:00-24:30", "does not end after it begins"),
        ("MCP_CALENDAR_SLOT_MINUTES", "1", "greater than or equal to 5"),
        ("MCP_CALENDAR_DAYS_OFF", "Christmas", "date"),
        ("MCP_CALENDAR_TIMEOUT", "soon", "number"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, said: str) -> None:
    """In one line, without its value, which may be a secret."""
    kind: type[ServerSettings] = EmailSettings if name.startswith("MCP_EMAIL_") else CalendarSettings
    with pytest.raises(SettingsError) as caught:
        kind.read({**EMAIL, **CALENDAR} | {name: value})
    line = str(caught.value)
    assert line.startswith("MCP_EMAIL_SMTP_USER" if said == "set both, or neither" else name)
    assert said in line
    assert "\n" not in line
    assert "secret" not in line


def test_secrets_are_read_from_files_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Docker mounts them; the environment takes precedence, and other names are not ours."""
    (tmp_path / "MCP_EMAIL_TOKEN").write_text(f"{TOKEN}\n")
    (tmp_path / "MCP_EMAIL_TO").write_text("other@company.example")
    (tmp_path / "OPENAI_API_KEY").write_bytes(b"\xff")
    monkeypatch.setattr(mcp_servers.settings, "SECRETS", tmp_path)
    for name, value in EMAIL.items():
        if name != "MCP_EMAIL_TOKEN":
            monkeypatch.setenv(name, value)
    settings = EmailSettings.load()
    assert (settings.token.get_secret_value(), settings.to) == (TOKEN, EMAIL["MCP_EMAIL_TO"])
    assert TOKEN not in repr(settings)
    (tmp_path / "MCP_EMAIL_FROM").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        EmailSettings.load()


@pytest.mark.parametrize("kind", [EmailSettings, CalendarSettings])
def test_the_docs_have_every_setting_with_its_default(kind: type[ServerSettings]) -> None:
    """One row each, and no others; as .env would spell it."""
    text = (REPOSITORY / "docs/mcp.md").read_text()
    rows = dict(re.findall(rf"^\| `({kind.prefix}[A-Z_]+)` \| (\S.*?) \|", text, re.MULTILINE))
    assert rows.keys() == {f"{kind.prefix}{field.alias}" for field in kind.model_fields.values()}
    for field in kind.model_fields.values():
        name = f"{kind.prefix}{field.alias}"
        assert (rows[name] == "required") == field.is_required(), name
    given = {name: default.strip("`") for name, default in rows.items() if default.startswith("`")}
    required = {**EMAIL, **CALENDAR}
    needed = {name: value for name, value in required.items() if rows.get(name) == "required"}
    assert kind.read(needed | given) == kind.read(needed)
