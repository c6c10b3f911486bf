"""What `support-agent doctor` says of proxies, certificates, passwords and LangSmith: broken set-ups, and odd ones."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import typer
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cli.doctor import doctor
from graph.errors import SettingsError
from harness.langsmith import LangSmith, langsmith_server
from harness.scripted_model import ScriptedModel
from harness.serving import serving
from harness.socks import socks_proxy

NOWHERE = "127.0.0.1:1"
PROXIES = "correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or add the server's host to NO_PROXY"
PASSWORD = "has a password with special characters: write # as %23, / as %2F, ? as %3F, [ as %5B and ] as %5D"
UNTRUSTED = (
    "has a certificate of an authority that is not trusted; "
    "set SSL_CERT_FILE to a file with the authority's certificate, in PEM"
)
Examine = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def examine(articles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Examine]:
    """Run the command in this process; return its exit status, and what it printed to both streams."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SUPPORT_KNOWLEDGE", str(articles))

    async def run(**variables: str) -> tuple[int, str, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        status, refusal = 0, ""
        try:
            await asyncio.to_thread(doctor)
        except typer.Exit as ended:
            status = ended.exit_code
        except SettingsError as error:  # which `main` prints
            status, refusal = 1, str(error)
        said = capsys.readouterr()
        return status, said.out, said.err + refusal

    yield run
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A company's own certificate authority."""
    return trustme.CA()


@asynccontextmanager
async def secure(
    app: Any, authority: trustme.CA, folder: Path, name: str, *, expired: bool = False
) -> AsyncGenerator[str]:
    """Serve over TLS, with a certificate for `name`."""
    ended = datetime(2020, 1, 1, tzinfo=UTC)
    own = authority.issue_cert(name, not_before=ended - timedelta(days=1), not_after=ended) if expired else None
    own = own or authority.issue_cert(name)
    own.private_key_pem.write_to_path(folder / "key.pem")
    own.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    files: dict[str, Any] = {"ssl_keyfile": str(folder / "key.pem"), "ssl_certfile": str(folder / "chain.pem")}
    async with serving(app, lifespan=False, **files) as url:
        yield url.replace("http:", "https:")


@pytest.fixture
async def langsmith() -> AsyncGenerator[LangSmith]:
    async with langsmith_server() as server:
        yield server


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"REDIS_URL": "redis://:secret#1@127.0.0.1:6379/0"}, f"REDIS_URL: {PASSWORD}"),
        ({"REDIS_URL": "rediss://agent:sec/ret@redis.example:6380/0"}, f"REDIS_URL: {PASSWORD}"),
        ({"DATABASE_URL": "postgresql://agent:sec/ret@db.example/agent"}, f"DATABASE_URL: {PASSWORD}"),
        (
            {"OPENAI_BASE_URL": "http://model.example/v1", "HTTP_PROXY": "http://me:secret#1@proxy.example:3128"},
            f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: {PASSWORD}",
        ),
        (
            {"OPENAI_BASE_URL": "http://model.example/v1", "ALL_PROXY": "socks5://secret.example"},
            "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: must be like http://proxy.example:3128 or",
        ),
        ({"PORT": "secret"}, "PORT: Input should be a valid integer"),
        (
            {"OPENAI_BASE_URL": "https://model.example/v1", "HTTPS_PROXY": f"http://{NOWHERE}"},
            f"model     can't be reached through the proxy; {PROXIES}\n",
        ),
        (
            {"OPENAI_BASE_URL": "https://model.example/v1", "ALL_PROXY": f"socks5://{NOWHERE}"},
            f"model     can't be reached through the proxy; {PROXIES}\n",
        ),
        (
            {"OPENAI_BASE_URL": "http://model.example/v1", "HTTP_PROXY": "http://proxy.invalid:3128"},
            f"model     can't be reached through the proxy; {PROXIES}\n",
        ),
        (
            {"OPENAI_BASE_URL": "https://model.example/v1", "SSL_CERT_FILE": "/secret/authority.pem"},
            "SSL_CERT_FILE: must be a file with certificates, in PEM",
        ),
        (
            {"OPENAI_BASE_URL": "http://model.invalid/v1"},
            "model     has a host name without an address; correct OPENAI_BASE_URL\n",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
async def test_doctor_names_the_cause_of_what_never_gets_there(
    examine: Examine, variables: dict[str, str], complaint: str
) -> None:
    """An unencoded password, a wrong proxy, a wrong name: in one line, without the value."""
    status, said, complaints = await examine(**variables)
    assert (status, complaints.count("\n") <= 1, complaints[: len(complaint)]) == (1, True, complaint)
    assert "secret" not in said + complaints


@pytest.mark.parametrize(
    ("certified", "complaint"),
    [
        (
            "127.0.0.1",
            UNTRUSTED,
        ),
        ("other.example", "has a certificate for another name; correct OPENAI_BASE_URL"),
        (None, "speaks no TLS that fits; correct OPENAI_BASE_URL, which says https://"),
    ],
)
async def test_doctor_names_what_is_wrong_with_a_certificate(
    model: ScriptedModel, examine: Examine, authority: trustme.CA, tmp_path: Path, certified: str | None, complaint: str
) -> None:
    """A private authority, another server's certificate, and a server without TLS are three things."""
    async with AsyncExitStack() as stack:
        url = model.url.replace("http:", "https:")
        if certified:
            url = f"{await stack.enter_async_context(secure(model, authority, tmp_path, certified))}/v1"
        variables = {"SSL_CERT_FILE": str(tmp_path / "authority.pem")} if certified == "other.example" else {}
        status, _, complaints = await examine(OPENAI_BASE_URL=url, **variables)
    assert (status, complaints) == (1, f"model     {complaint}\n")


@pytest.mark.parametrize(
    ("certified", "complaint"),
    [
        ("127.0.0.1", f"{UNTRUSTED}\n"),
        ("other.example", "has a certificate for another name; correct REDIS_URL\n"),
        ("expired", "has a certificate that has expired; renew it, or correct this machine's clock\n"),
        (None, "speaks no TLS that fits; write redis:// in REDIS_URL if it speaks none\n"),
        ("a file that is gone", "SSL_CERT_FILE: must be a file with certificates, in PEM"),
    ],
)
async def test_doctor_names_what_is_wrong_with_a_certificate_of_redis(
    model: ScriptedModel, examine: Examine, authority: trustme.CA, tmp_path: Path, certified: str | None, complaint: str
) -> None:
    """As with a model's; a TLS handshake ends before any command is sent."""
    async with AsyncExitStack() as stack:
        url, variables = model.url, dict[str, str]()
        if certified:
            name = certified if "." in certified else "127.0.0.1"
            url = await stack.enter_async_context(
                secure(model, authority, tmp_path, name, expired=certified == "expired")
            )
            if certified != "127.0.0.1":
                file = "gone.pem" if "gone" in certified else "authority.pem"
                variables["SSL_CERT_FILE"] = str(tmp_path / file)
        status, _, complaints = await examine(REDIS_URL=f"rediss://127.0.0.1:{httpx.URL(url).port}/0", **variables)
    assert (status, complaints.rstrip("\n")) == (1, f"Redis     {complaint}".rstrip("\n"))


async def test_doctor_names_an_authority_that_postgres_has_of_its_own(
    examine: Examine, authority: trustme.CA, tmp_path: Path
) -> None:
    """Libpq's own words, which may hold the URL, are not shown."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # libpq's request for TLS
        writer.write(b"S")
        with suppress(OSError):
            await writer.start_tls(context)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://agent:secret@127.0.0.1:{port}/agent?sslmode=verify-full&sslrootcert={tmp_path}/other.pem"
        status, _, complaints = await examine(DATABASE_URL=url)
    trouble = "has a certificate of an authority that is not trusted; name its file with sslrootcert in the URL"
    assert (status, complaints) == (1, f"articles  DATABASE_URL: {trouble}\n")


async def test_doctor_names_why_langsmith_gets_nothing(
    examine: Examine, langsmith: LangSmith, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is refused, a web page, a private authority, and a server that is not there."""

    async def complaint(url: str) -> str:
        status, _, complaints = await examine(
            LANGSMITH_TRACING="true", LANGSMITH_API_KEY="lsv2_secret", LANGSMITH_ENDPOINT=url
        )
        assert status == 1
        assert "secret" not in complaints
        return complaints.removeprefix("LangSmith ").rstrip("\n")

    langsmith.fault = 403
    assert await complaint(langsmith.url) == (
        "refused the key (HTTP 403); correct LANGSMITH_API_KEY, or LANGSMITH_ENDPOINT if the key is of another region; "
        "an organisation's key needs LANGSMITH_WORKSPACE_ID"
    )
    page = Starlette(routes=[Route("/sessions", lambda _: HTMLResponse("<h1>LangSmith</h1>"))])
    async with serving(page, lifespan=False) as url:
        assert await complaint(url) == "does not answer as LangSmith does; correct LANGSMITH_ENDPOINT"
    async with secure(page, authority, tmp_path, "127.0.0.1") as url:
        assert "not trusted; set REQUESTS_CA_BUNDLE to a file" in await complaint(url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
        assert "REQUESTS_CA_BUNDLE names no certificates; correct" in await complaint(url)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with monkeypatch.context() as unknown:
        unknown.setenv("ALL_PROXY", "socks://127.0.0.1:1")  # as GNOME writes it
        assert await complaint("http://langsmith.example") == f"can't be reached through the proxy; {PROXIES}"
    assert await complaint(f"http://{NOWHERE}") == "can't be reached; start it, or correct LANGSMITH_ENDPOINT"


@pytest.mark.parametrize("status", [403, 503])
async def test_doctor_does_not_blame_a_key_for_what_a_proxy_says(examine: Examine, status: int) -> None:
    """A proxy that does not let a model's server be asked answers in its place."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("Access denied", status)(scope, receive, send)

    async with serving(refuse, lifespan=False) as proxy:
        code, _, complaints = await examine(OPENAI_BASE_URL="http://model.example/v1", HTTP_PROXY=proxy)
    assert code == 1
    assert complaints.startswith(
        f"model     or the proxy before it answers with HTTP {status}; add the server's host to"
    )


@pytest.mark.parametrize(
    "odd",
    [
        "quotes and line breaks",
        "a SOCKS proxy",
        "a proxy that is not asked",
        "a private authority",
        "old names",
        "LangSmith for experiments alone",
    ],
)
async def test_doctor_is_content_with_odd_surroundings(
    model: ScriptedModel,
    examine: Examine,
    langsmith: LangSmith,
    redis_url: str,
    authority: trustme.CA,
    tmp_path: Path,
    odd: str,
) -> None:
    """They work; it exits with 0, and points out what has no effect."""
    variables = {"OPENAI_BASE_URL": model.url, "REDIS_URL": redis_url}
    expected = "model     answers in"
    async with AsyncExitStack() as stack:
        if odd == "quotes and line breaks":
            variables |= {"OPENAI_BASE_URL": f'"{model.url}"', "REDIS_URL": f" {redis_url}\r\n"}
        elif odd == "a SOCKS proxy":
            proxy = await stack.enter_async_context(socks_proxy(("me", "p@ss")))
            variables |= {
                "OPENAI_BASE_URL": model.url.replace("127.0.0.1", "model.invalid"),
                "ALL_PROXY": f"socks5h://me:p%40ss@127.0.0.1:{proxy.port}",
            }
        elif odd == "a proxy that is not asked":
            variables |= {
                "ALL_PROXY": f"socks5://{NOWHERE}",
                "HTTP_PROXY": NOWHERE,
                "NO_PROXY": "10.0.0.0/8,127.0.0.0/8",
            }
        elif odd == "a private authority":
            url = await stack.enter_async_context(secure(model, authority, tmp_path, "127.0.0.1"))
            variables |= {"OPENAI_BASE_URL": f"{url}/v1", "SSL_CERT_FILE": str(tmp_path / "authority.pem")}
        elif odd == "old names":
            variables |= {"LANGCHAIN_API_KEY": "lsv2_secret", "LANGCHAIN_TRACING_V2": "true"}
            expected = "settings  LANGCHAIN_API_KEY: ignored; set LANGSMITH_API_KEY"
        else:
            variables |= {"LANGSMITH_API_KEY": "lsv2_secret", "LANGSMITH_ENDPOINT": langsmith.url}
            expected = "LangSmith takes the key, and gets experiments, but no traces"
        status, said, complaints = await examine(**variables)
    assert (status, complaints) == (0, "")
    assert expected in said
    assert "secret" not in said
