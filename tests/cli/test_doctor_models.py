"""What `support-agent doctor` says of model servers: broken ones, and ones that are odd but work."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from test_doctor import examined

from harness import dialects
from harness.dialects import openai_refusal, refusal
from harness.scripted_model import Kind, Reply, ScriptedModel, embedded, html, label, scripted_model, status, tokens

TAKEN: dict[Kind, Reply] = {"classify": label("billing"), "answer": tokens(["Hello"]), "embeddings": embedded(64)}
KINDS = tuple(TAKEN)
NO_V1 = "correct OPENAI_BASE_URL, with its version path, such as /v1"
READS_MORE = "set SUPPORT_CLASSIFY_MODEL to a model that reads more"
LM_STUDIO = refusal({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, 200)
OLLAMA = openai_refusal('model "text-embedding-3-small" not found, try pulling it first', status=404)
LITELLM = openai_refusal("/chat/completions: Invalid model name passed in model=gpt-4o-mini.")
FULL = openai_refusal("the request exceeds the available context size", code="exceed_context_size_error")
QUOTA = openai_refusal("You exceeded your current quota", code="insufficient_quota", status=429)
SCOPES = openai_refusal("Project does not have access to model", code="model_not_found", status=403)

# What is broken: the address, the kinds of call that fail, and how, what doctor says.
BROKEN: dict[str, tuple[str, tuple[Kind, ...], Reply, str]] = {
    "no /v1: 404": ("", KINDS, status(404, error="Not Found"), f"can't be asked at this address (HTTP 404); {NO_V1}"),
    "no /v1: error in a 200": ("", KINDS, LM_STUDIO, f"answers with an error inside HTTP 200; {NO_V1}"),
    "no /v1: a web page": (
        "",
        KINDS,
        html,
        "answers with a web page; set OPENAI_BASE_URL to the address of the API, with its version path, such as /v1",
    ),
    "the wrong key": ("/v1", KINDS, status(401), "refused the key; correct OPENAI_API_KEY"),
    "a model that refuses every request": (
        "/v1",
        ("answer",),
        openai_refusal("This is not a chat model", code="unsupported_model"),
        "gpt-4o refuses every request (HTTP 400 unsupported_model); set SUPPORT_ANSWER_MODEL to another model",
    ),
    "a classifier that never names a desk": (
        "/v1",
        ("classify",),
        label("I would be happy to help!"),
        "gpt-4o-mini named no desk; set SUPPORT_CLASSIFY_MODEL to a model that replies with one word",
    ),
    "a classifier that does not exist": (
        "/v1",
        ("classify",),
        LITELLM,
        "gpt-4o-mini is not a model of the server (HTTP 400); set SUPPORT_CLASSIFY_MODEL to one that is",
    ),
    "a model that the key may not use": (
        "/v1",
        ("answer",),
        SCOPES,
        "gpt-4o is not a model of the server (HTTP 403 model_not_found); set SUPPORT_ANSWER_MODEL to one that is",
    ),
    "an embedding model that is not pulled": (
        "/v1",
        ("embeddings",),
        OLLAMA,
        "text-embedding-3-small is not a model of the server (HTTP 404); set SUPPORT_EMBEDDING_MODEL to one that is",
    ),
    "no credit": (
        "/v1",
        KINDS,
        QUOTA,
        "has no credit left (HTTP 429 insufficient_quota); add credit at its provider, or raise the limit",
    ),
    "a context of 512 tokens": (
        "/v1",
        ("classify",),
        FULL,
        f"gpt-4o-mini reads less than a turn sends (HTTP 400 exceed_context_size_error); {READS_MORE}",
    ),
    "an answer model that says nothing": (
        "/v1",
        ("answer",),
        tokens([]),
        "gpt-4o gave nothing that can be used; set SUPPORT_ANSWER_MODEL to a model for that",
    ),
}


@pytest.fixture
async def other() -> AsyncGenerator[ScriptedModel]:
    """Another server, for the embedding model."""
    async with scripted_model() as server:
        yield server


@pytest.mark.parametrize(("path", "kinds", "reply", "complaint"), BROKEN.values(), ids=list(BROKEN))
async def test_doctor_names_the_cause_and_the_remedy(
    model: ScriptedModel, articles: Path, path: str, kinds: tuple[Kind, ...], reply: Reply, complaint: str
) -> None:
    """In one line, without what the server said; it exits with 1."""
    for kind in kinds:
        model.script(kind, reply)
    base = model.url.removesuffix("/v1")
    code, _, said = await examined(articles, OPENAI_BASE_URL=base + path, OPENAI_API_KEY="sk-test-canary")
    assert (code, said) == (1, f"model     {complaint}\n")


async def test_doctor_names_the_server_of_the_embeddings(
    model: ScriptedModel, other: ScriptedModel, articles: Path
) -> None:
    """What it says of the embedding model is about that model's settings."""
    own = {"OPENAI_BASE_URL": model.url, "SUPPORT_EMBEDDING_BASE_URL": other.url}
    other.script("embeddings", status(401))
    code, _, said = await examined(articles, **own)
    assert (code, said) == (1, "model     text-embedding-3-small refused the key; correct SUPPORT_EMBEDDING_API_KEY\n")
    code, _, said = await examined(articles, **own | {"SUPPORT_EMBEDDING_BASE_URL": "http://127.0.0.1:1/v1"})
    unreachable = "text-embedding-3-small can't be reached; start it, or correct SUPPORT_EMBEDDING_BASE_URL"
    assert (code, said) == (1, f"model     {unreachable}\n")


async def test_doctor_says_each_thing_that_is_wrong(model: ScriptedModel, articles: Path) -> None:
    """Two models that fail in two ways are two lines."""
    model.script("classify", label("Hmm."))
    model.script("embeddings", status(500))
    code, _, said = await examined(articles, OPENAI_BASE_URL=model.url)
    assert code == 1
    assert [line[10:].split(" ", 1)[0] for line in said.splitlines()] == ["gpt-4o-mini", "text-embedding-3-small"]


async def test_doctor_says_what_azure_lacks(articles: Path) -> None:
    """An address without a version of the API is one line, before anything is asked."""
    code, _, said = await examined(articles, OPENAI_BASE_URL="https://acme.openai.azure.com", OPENAI_API_KEY="k")
    assert (code, said.count("\n")) == (1, 1)
    assert "OPENAI_BASE_URL: must end with /openai/v1, or with ?api-version=" in said


ODD = (
    "a key for chats alone",
    "a strict server",
    "a classifier that dresses its word",
    "Azure before v1",
    "no streams",
)


@pytest.mark.parametrize("odd", ODD)
async def test_doctor_is_content_with_what_works(
    model: ScriptedModel, other: ScriptedModel, articles: Path, odd: str
) -> None:
    """However odd it is; it exits with 0."""
    variables = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "sk-test-canary"}
    if odd == "a key for chats alone":
        model.script("other", openai_refusal("Missing scopes: model.read", status=403))
    elif odd == "a strict server":
        model.script("classify", dialects.strict(TAKEN["classify"]))
        model.script("answer", dialects.reasoning(dialects.mistral(TAKEN["answer"])))
        variables["SUPPORT_EMBEDDING_BASE_URL"] = other.url
    elif odd == "a classifier that dresses its word":
        model.script("classify", label("Category: **Billing**."))
    elif odd == "Azure before v1":
        variables["OPENAI_BASE_URL"] = f"{model.url.removesuffix('/v1')}?api-version=2024-10-21"
    else:
        model.script("answer", dialects.no_streams(label("Hello")))
    code, said, complaints = await examined(articles, **variables)
    assert (code, complaints) == (0, "")
    assert "gives what a turn needs: gpt-4o-mini, gpt-4o, text-embedding-3-small" in said
