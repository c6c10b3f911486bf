"""LangSmith's client, and what is wrong with LangSmith in words."""

from typing import Any

from langsmith import Client
from langsmith.utils import LangSmithError
from urllib3 import Retry

from graph.connection import causes, connection_trouble
from graph.errors import SettingsError
from graph.settings import AgentSettings

TIMEOUT = (1_000, 2_000)
"""Milliseconds to connect and to read."""
_ENDPOINT = "LANGSMITH_ENDPOINT"


def langsmith_client(
    settings: AgentSettings,
    *,
    timeout_ms: tuple[int, int] = TIMEOUT,
    **options: Any,  # noqa: ANN401 - the client's own
) -> Client:
    """Return a client that does not retry; raises SettingsError if environment variables contradict each other."""
    try:
        return Client(
            settings.langsmith_endpoint,
            api_key=settings.langsmith_api_key.get_secret_value() if settings.langsmith_api_key else None,
            workspace_id=settings.langsmith_workspace,
            retry_config=Retry(0),
            timeout_ms=timeout_ms,
            **options,
        )
    except LangSmithError as error:
        raise SettingsError(
            "LANGSMITH_: conflicting environment variables; set only those that .env.example lists"
        ) from error


def check_langsmith(settings: AgentSettings) -> tuple[str, str] | None:
    """Ask for the project; return what is wrong and what mends it. It blocks; raises SettingsError."""
    client = langsmith_client(settings, auto_batch_tracing=False)
    params = {"name": settings.langsmith_project, "limit": 1}
    try:
        response = client.request_with_retries("GET", "/sessions", params=params, stop_after_attempt=1)
        if not isinstance(response.json(), list):
            raise ValueError("not a list of projects")  # noqa: TRY004 - rubbish from outside is no bug of ours
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return langsmith_trouble(error)
    return None


def langsmith_trouble(error: BaseException) -> tuple[str, str]:
    """Return what an error of LangSmith's client means, and what mends it, without its text."""
    if isinstance(error, ValueError):
        return "does not answer as LangSmith does", f"correct {_ENDPOINT}"
    status = status_of(error)
    if status in (401, 403):
        remedy = (
            f"correct LANGSMITH_API_KEY, or {_ENDPOINT} if the key is of another region; an organisation's key needs "
            "LANGSMITH_WORKSPACE_ID"
        )
        return f"refused the key (HTTP {status})", remedy
    if status in (404, 405):
        return f"can't be asked at this address (HTTP {status})", f"correct {_ENDPOINT}"
    if status == 407:
        return "can't be reached through the proxy", "correct the user and password in HTTP_PROXY or HTTPS_PROXY"
    if status is not None:
        return f"fails with HTTP {status}", "wait, or see its status page"
    trouble = connection_trouble(error, _ENDPOINT, "REQUESTS_CA_BUNDLE")
    return trouble or ("can't be reached", f"start it, or correct {_ENDPOINT}")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of LangSmith's client is about."""
    responses = (getattr(cause, "response", None) for cause in causes(error))
    return next((response.status_code for response in responses if response is not None), None)
