"""The check of the models, and what it says of those that fail."""

import pytest
from langchain_core.callbacks import AsyncCallbackManager
from langsmith.utils import tracing_is_enabled

from conftest import MakeSettings
from graph.desk_prompt import DeskPrompt
from graph.models import open_models
from graph.models.checks import check_models, in_words
from graph.retrieval.company import Company, Desk
from harness.dialects import openai_refusal
from harness.scripted_model import Kind, Reply, ScriptedModel, body, status

PROMPT = DeskPrompt(Company("Acme", (Desk("general"), Desk("billing"))))


async def test_langchain_traces_no_check(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the environment turns its own tracing on, whose client would outlive the service."""
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
    traced: list[bool] = []
    configure = AsyncCallbackManager.configure

    def noting(*arguments: object, **options: object) -> AsyncCallbackManager:
        traced.append(bool(tracing_is_enabled()))
        return configure(*arguments, **options)  # pyright: ignore[reportArgumentType] - passed on

    monkeypatch.setattr(AsyncCallbackManager, "configure", noting)
    settings = make_settings()
    async with open_models(settings) as models:
        assert await check_models(models, settings, PROMPT) == []
    assert traced
    assert not any(traced)


PAGE = body("404 page not found", "text/plain", 404)
NO_EMBEDDINGS = openai_refusal("This server does not support embeddings. Start it with `--embeddings`", status=501)
LOGIN = status(302, {"location": "/login"})
CHATS: tuple[Kind, ...] = ("classify", "answer")
ALL: tuple[Kind, ...] = (*CHATS, "embeddings")
ANOTHER = "set SUPPORT_EMBEDDING_BASE_URL to one that gives them"
LOG = "wait, or look at its server's log"

# The end of the address, the kinds of call that fail, and how, what is said.
SAID: dict[str, tuple[str, tuple[Kind, ...], Reply, str]] = {
    "no /v1, and a short name": (
        "",
        ALL,
        PAGE,
        "can't be asked at this address (HTTP 404); correct OPENAI_BASE_URL, with its version path, such as /v1",
    ),
    "the address of one request": (
        "/v1/chat/completions",
        ALL,
        PAGE,
        "can't be asked at this address (HTTP 404); remove /chat/completions from OPENAI_BASE_URL",
    ),
    "no embeddings: 501": (
        "/v1",
        ("embeddings",),
        NO_EMBEDDINGS,
        f"e is on a server without embeddings (HTTP 501); {ANOTHER}",
    ),
    "no embeddings: 404": (
        "/v1",
        ("embeddings",),
        PAGE,
        f"e is on a server without embeddings (HTTP 404); {ANOTHER}",
    ),
    "one model that is not found": (
        "/v1",
        ("answer",),
        PAGE,
        "a can't be asked at this address (HTTP 404); set SUPPORT_ANSWER_MODEL to a model of the server",
    ),
    "the classifier: 500": ("/v1", ("classify",), status(500), f"p fails with HTTP 500; {LOG}"),
    "all chats: 503": ("/v1", CHATS, status(503, error="Loading model"), f"p, a fails with HTTP 503; {LOG}"),
    "the answers: 503": (
        "/v1",
        ("answer",),
        status(503),
        f"a fails with HTTP 503; {LOG}, or set SUPPORT_FALLBACK_MODEL",
    ),
    "a rate limit": (
        "/v1",
        ("classify",),
        openai_refusal("Rate limit reached", code="rate_limit_exceeded", status=429),
        "p fails with HTTP 429 rate_limit_exceeded; wait, or raise the rate limit at its provider",
    ),
    "a page to log in": (
        "/v1",
        ALL,
        LOGIN,
        "is not at this address, which leads elsewhere (HTTP 302); set OPENAI_BASE_URL to the address of the API",
    ),
}


@pytest.mark.parametrize(("path", "kinds", "reply", "said"), SAID.values(), ids=list(SAID))
async def test_the_one_cause_and_its_remedy_are_said(
    make_settings: MakeSettings, model: ScriptedModel, path: str, kinds: tuple[Kind, ...], reply: Reply, said: str
) -> None:
    """Of one model, of some, or of all; a fallback is a remedy for answers alone."""
    for kind in kinds:
        model.script(kind, reply)
    settings = make_settings(
        OPENAI_BASE_URL=model.url.removesuffix("/v1") + path,
        SUPPORT_CLASSIFY_MODEL="p",
        SUPPORT_ANSWER_MODEL="a",
        SUPPORT_EMBEDDING_MODEL="e",
    )
    async with open_models(settings) as models:
        found = in_words(await check_models(models, settings, PROMPT), 3)
    assert ["; ".join(each) for each in found] == [said]
