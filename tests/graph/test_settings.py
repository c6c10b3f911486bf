import os
import re
from pathlib import Path

import pytest

from api.app import create_app
from api.settings import ServiceSettings
from graph import environment
from graph.errors import SettingsError


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("SUPPORT_ANSWER_TIMEOUT", "soon", "valid number"),
        ("SUPPORT_ANSWER_TIMEOUT", "0", "greater than 0"),
        ("SUPPORT_ENV", "staging", "'development' or 'production'"),
        ("SUPPORT_MAX_BODY", "12", "1024"),
        ("PORT", "tcp://10.0.0.1:80", "valid integer"),
        ("PORT", "70000", "65535"),
        ("SUPPORT_TIMEOUT", "60", "unknown setting"),
        ("OPENAI_BASE_URL", "localhost:8000", "http://"),
        ("OPENAI_BASE_URL", "http://[::1/v1", "http://"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:99999/v1", "http://"),
        ("OPENAI_BASE_URL", "https://acme.openai.azure.com", "/openai/v1"),
        ("OPENAI_BASE_URL", "https://acme.openai.azure.com/openai/deployments/gpt-4o", "?api-version="),
        ("SUPPORT_EMBEDDING_BASE_URL", "https://acme.cognitiveservices.azure.com/openai", "?api-version="),
        ("SUPPORT_EMBEDDING_BASE_URL", "localhost:8000", "http://"),
        ("OPENAI_BASE_URL", "http://me:secret-dsn@models.example/v1", "must have no user and password"),
        ("SUPPORT_EMBEDDING_BASE_URL", "http://secret-dsn@models.example/v1", "the API key"),
        ("SUPPORT_EMBEDDING_API_KEY", "sk secret-dsn", "printable"),
        ("OPENAI_API_KEY", "sk-secret-dsn\nsk-2", "printable"),
        ("SUPPORT_MCP_SERVERS", "http://calendar:8000/mcp", "calendar=http://calendar:8000/mcp"),
        ("SUPPORT_MCP_SERVERS", "calendar=calendar:8000", "http://"),
        ("SUPPORT_MCP_SERVERS", "calendar=http://me:secret-dsn@calendar/mcp", "must have no user and password"),
        ("SUPPORT_MCP_SERVERS", "a=http://a/mcp,a=http://b/mcp", "names 'a' twice"),
        ("SUPPORT_MCP_TOKENS", "secret-dsn", "calendar=secret"),
        ("SUPPORT_MCP_TOKENS", "calendar=secret-dsn", "'calendar' is no server of SUPPORT_MCP_SERVERS"),
        ("DATABASE_URL", "mysql://secret-dsn", "postgresql://"),
        ("REDIS_URL", "localhost:secret-dsn", "redis://"),
        ("REDIS_URL", "redis://:secret-dsn@localhost:six/0", "numeric port"),
        ("REDIS_URL", "redis://:secret-dsn#1@localhost:6379/0", "write # as %23"),
        ("REDIS_URL", "redis://:12#secret-dsn@localhost:6379/0", "write # as %23"),
        ("REDIS_URL", "rediss://agent:12/secret-dsn@redis.example:6380", "/ as %2F"),
        ("REDIS_URL", "redis://:secret-dsn?@localhost/0", "? as %3F"),
        ("REDIS_URL", "redis://:secret-dsn[@localhost/0", "[ as %5B"),
        ("REDIS_URL", "redis://localhost:6379/secret-dsn", "number of a database"),
        ("DATABASE_URL", "postgresql://agent:secret/dsn@db.example:5432/agent", "/ as %2F"),
        ("OPENAI_BASE_URL", "http://me:secret#dsn@model.example/v1", "write # as %23"),
        ("OPENAI_BASE_URL", "http://model.example/v1 # the big one", "without spaces"),
        ("SUPPORT_API_KEYS", "web:secret-dsn", "NAME:SHA256"),
        ("SUPPORT_API_KEYS", f"web:{'A' * 64}", "NAME:SHA256"),
        ("SUPPORT_API_KEYS", f"anonymous:{'a' * 64}", "another name"),
        ("SUPPORT_API_KEYS", f"public:{'a' * 64}", "another name"),
        ("SUPPORT_VISITOR_SECRET", "secret-dsn", "at least 32 bytes"),
        ("SUPPORT_VISITOR_SECRET", f"{'a' * 32},secret-dsn", "openssl rand -hex 32"),
        ("SUPPORT_VISITOR_SECRET", ",".join(["secret-dsn" * 4] * 3), "or two"),
        ("SUPPORT_VISITOR_RATE_LIMIT", "many", "10/minute"),
        ("SUPPORT_PUBLIC_ORIGINS", "https://a.example/path", "https://www.example.com"),
        ("SUPPORT_RATE_LIMIT", "many", "10/minute"),
        ("SUPPORT_RATE_LIMIT", "0/minute", "10/minute"),
        ("SUPPORT_RATE_LIMIT", "10/minute;5/second", "10/minute"),
        ("SUPPORT_API_KEYS", ",", "NAME:SHA256"),
        ("SUPPORT_HANDOFF_SECRET", "secret-dsn", 'echo "whsec_$(openssl rand -base64 32)"'),
        ("SUPPORT_HANDOFF_SECRET", "whsec_c2hvcnQ=", "24 to 64 random bytes"),
        ("SUPPORT_HANDOFF_WEBHOOK", "desk.example/hook", "http://"),
        ("SUPPORT_CACHE_TTL", "-1", "greater than or equal to 0"),
        ("SUPPORT_ALLOWED_ORIGINS", "*", "https://www.example.com"),
        ("SUPPORT_ALLOWED_ORIGINS", "https://a.example/path", "https://www.example.com"),
        ("SUPPORT_ALLOWED_ORIGINS", "wss://a.example", "https://www.example.com"),
        ("SUPPORT_ALLOWED_ORIGINS", "capacitor://", "https://www.example.com"),
        ("SUPPORT_ALLOWED_ORIGINS", "null", "https://www.example.com"),
        ("SUPPORT_TRUSTED_PROXIES", "10.0.0.1/8", "10.0.0.0/8"),
        ("SUPPORT_TRUSTED_PROXIES", "*", "10.0.0.0/8"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str) -> None:
    """An invalid or unknown variable stops the start; the error has its name and the fix, never its value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: .*{re.escape(named)}") as caught:
        ServiceSettings.load()
    assert "secret-dsn" not in str(caught.value)


def test_a_webhook_needs_its_secret_and_no_e_mail_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what is missing, or what is too much."""
    monkeypatch.setenv("SUPPORT_HANDOFF_WEBHOOK", "https://desk.example/hook")
    with pytest.raises(SettingsError, match=r"^SUPPORT_HANDOFF_SECRET: missing"):
        ServiceSettings.load()
    monkeypatch.setenv("SUPPORT_HANDOFF_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert ServiceSettings.load().has_handoff_receiver
    monkeypatch.setenv("SUPPORT_HANDOFF_EMAIL", "email")
    with pytest.raises(SettingsError, match=r"^SUPPORT_HANDOFF_EMAIL: .*not both"):
        ServiceSettings.load()


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.openai.azure.com/openai/v1/",
        "https://acme.openai.azure.com/openai/v1?api-version=preview",
        "https://acme.openai.azure.com/?api-version=2024-10-21",
        "https://acme.services.ai.azure.com/models?api-version=2024-05-01-preview",
    ],
)
def test_an_address_of_azure_that_names_its_api_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Whichever of its APIs it is."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert ServiceSettings.load().openai_base_url == url


def test_settings_are_read_from_a_dotenv_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` is read and checked for unknown names; the environment takes precedence."""
    Path(".env").write_text("SUPPORT_ANSWER_MODEL=from-file\nSUPPORT_CLASSIFY_MODEL=from-file\nOTHER=1\n")
    monkeypatch.setenv("SUPPORT_CLASSIFY_MODEL", "from-environment")
    settings = ServiceSettings.load()
    assert (settings.answer_model, settings.classify_model) == ("from-file", "from-environment")
    Path(".env").write_bytes(b"SUPPORT_ANSWER_MODEL=caf\xe9\n")
    with pytest.raises(SettingsError, match=r"^\.env: not valid UTF-8; save the file as UTF-8$"):
        ServiceSettings.load()
    Path(".env").write_text("SUPPORT_TYPO=1\n")
    with pytest.raises(SettingsError, match="SUPPORT_TYPO"):
        ServiceSettings.load()


def test_secrets_are_read_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file named after a variable is read without its last line break; the environment takes precedence."""
    monkeypatch.setattr(environment, "SECRETS", tmp_path)
    (tmp_path / "OPENAI_API_KEY").write_text("sk-from-file\n")
    (tmp_path / "REDIS_URL").write_text("redis://:secret@redis:6379/0\n")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379/0")
    settings = ServiceSettings.load()
    secrets = (settings.openai_api_key, settings.redis_url)
    assert [secret.get_secret_value() for secret in secrets if secret] == ["sk-from-file", "redis://127.0.0.1:6379/0"]
    (tmp_path / "DATABASE_URL").write_text("mysql://secret-dsn")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: must start with") as caught:
        ServiceSettings.load()
    assert "secret-dsn" not in str(caught.value)


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_application_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    """Without our own commands the service needs its URLs, and names a missing one."""
    monkeypatch.setenv("SUPPORT_ENV", environment)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY or OPENAI_BASE_URL, REDIS_URL"):
        create_app()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    with pytest.raises(SettingsError, match="missing in the environment: REDIS_URL"):
        create_app()
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    if environment == "production":
        with pytest.raises(SettingsError, match=r"SUPPORT_API_KEYS: .* SUPPORT_ALLOW_ANONYMOUS=true"):
            create_app()
        monkeypatch.setenv("SUPPORT_ALLOW_ANONYMOUS", "true")
    assert create_app().title == "Support Agent API"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as from a Compose file, has its default."""
    monkeypatch.setenv("SUPPORT_ANSWER_MODEL", "")
    monkeypatch.setenv("SUPPORT_API_KEYS", "")
    settings = ServiceSettings.load()
    assert (settings.answer_model, settings.api_keys, str(settings.rate_limit)) == ("gpt-4o", (), "10 per 1 minute")


def test_an_empty_rate_limit_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty SUPPORT_RATE_LIMIT disables the rate limit, also in `.env`."""
    Path(".env").write_text("SUPPORT_RATE_LIMIT=\n")
    assert ServiceSettings.load().rate_limit is None
    monkeypatch.setenv("SUPPORT_RATE_LIMIT", "5/second")
    assert str(ServiceSettings.load().rate_limit) == "5 per 1 second"
    monkeypatch.setenv("SUPPORT_RATE_LIMIT", "")
    assert ServiceSettings.load().rate_limit is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://localhost:6379/0?client_name=me@example"),
        ("REDIS_URL", "redis://agent:p@ss%23w%2Frd@[::1]:6379/0"),
        ("REDIS_URL", "unix:///run/redis@1/redis.sock"),
        ("REDIS_URL", "redis://localhost:6379"),
        ("REDIS_URL", "rediss://localhost:6379/3/?ssl_cert_reqs=none"),
        ("DATABASE_URL", "postgresql://agent:pa#ss?word@localhost/agent"),
        ("DATABASE_URL", "postgresql://localhost:5432/agent?user=me@tenant"),
    ],
)
def test_an_odd_address_that_works_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What looks like an unencoded password, but is read as it was meant, does not stop the start."""
    monkeypatch.setenv(name, value)
    settings = ServiceSettings.load()
    secret = settings.redis_url or settings.database_url
    assert secret
    assert secret.get_secret_value() == value


@pytest.mark.parametrize(
    "value", ["http://model.example/v1\n", '"http://model.example/v1"', " 'http://model.example/v1'\r\n"]
)
@pytest.mark.parametrize("place", ["environment", ".env", "secret"])
def test_a_value_is_taken_without_the_quotes_and_line_breaks_around_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, value: str
) -> None:
    """A shell's `$(cat file)`, `docker run --env-file` and files from Windows leave them there."""
    monkeypatch.setattr(environment, "SECRETS", tmp_path / "secrets")
    (tmp_path / "secrets").mkdir()
    if place == "environment":
        monkeypatch.setenv("OPENAI_BASE_URL", value)
    elif place == ".env":
        Path(".env").write_text(f"OPENAI_BASE_URL={value}", newline="")
    else:
        (tmp_path / "secrets" / "OPENAI_BASE_URL").write_text(value, newline="")
    assert ServiceSettings.load().openai_base_url == "http://model.example/v1"


def test_what_libraries_read_is_trimmed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break in the organization's id would else break the header that it is sent in."""
    for name in ("OPENAI_ORG_ID", "OTEL_EXPORTER_OTLP_ENDPOINT", "HTTPS_PROXY", "no_proxy"):
        monkeypatch.setenv(name, '"value"\n')
    ServiceSettings.load()
    assert {os.environ[name] for name in ("OPENAI_ORG_ID", "OTEL_EXPORTER_OTLP_ENDPOINT", "no_proxy")} == {"value"}


def test_an_env_file_saved_on_windows_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notepad begins it with a byte order mark, and ends lines with CR LF."""
    Path(".env").write_bytes(b"\xef\xbb\xbfOPENAI_API_KEY=sk-1\r\nSUPPORT_ANSWER_MODEL=other\r\n")
    settings = ServiceSettings.load()
    assert (settings.has_model, settings.answer_model) == (True, "other")
    Path(".env").write_bytes("OPENAI_API_KEY=sk-1\n".encode("utf-16"))  # PowerShell's `>`
    with pytest.raises(SettingsError, match=r"^\.env: not valid UTF-8"):
        ServiceSettings.load()


@pytest.mark.parametrize("empty", ["", " ", '""'])
def test_an_empty_variable_counts_as_unset_also_over_an_env_file(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    """`OPENAI_API_KEY= support-agent serve` starts the offline model, whatever `.env` says."""
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "REDIS_URL", "DATABASE_URL")
    Path(".env").write_text("".join(f"{name}=nonsense\n" for name in names) + "SUPPORT_ANSWER_MODEL=other\n")
    for name in names:
        monkeypatch.setenv(name, empty)
    settings = ServiceSettings.load()
    assert not settings.has_model
    assert (settings.redis_url, settings.database_url, settings.answer_model) == (None, None, "other")


def test_old_names_are_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable under a name that nothing reads any more is named with the new one, unless that is set."""
    Path(".env").write_text("LANGCHAIN_API_KEY=lsv2-secret\n")
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "true")
    monkeypatch.setenv("OPENAI_API_BASE", "http://model.example/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://model.example/v1")
    assert environment.old_names() == [
        "LANGCHAIN_TRACING_V2: ignored; set LANGSMITH_TRACING",
        "LANGCHAIN_API_KEY: ignored; set LANGSMITH_API_KEY",
    ]


def test_a_source_may_lie_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell expands ~ only at the beginning of a value, and nothing expands it in .env."""
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("SUPPORT_KNOWLEDGE", "a, ~/b,https://c.example/~d")
    assert ServiceSettings.load().sources == ("a", "/home/ann/b", "https://c.example/~d")
