"""Servers that refuse a parameter, and what is sent to them afterwards."""

import logging
from collections.abc import Callable

import httpx
import httpx2
import openai
import pytest
from starlette.types import Send

from conftest import Serve
from graph.models.dialect import Dialect
from harness import dialects
from harness.dialects import openai_refusal, refusal
from harness.scripted_model import Call, Reply, ScriptedModel, embedded, label, scripted_model, status, tokens

QUESTION = {"question": "Why was I charged twice?"}
ANSWER = tokens(["Hello"])
DIALECTS = {
    "reasoning model": (dialects.reasoning, {"temperature"}, {}),
    "reasoning model behind LiteLLM": (dialects.litellm, {"temperature"}, {}),
    "Mistral": (dialects.mistral, {"max_completion_tokens"}, {"max_tokens": 1000}),
    "old vLLM": (dialects.old_vllm, {"max_completion_tokens"}, {"max_tokens": 1000}),
    "old Azure": (dialects.old_azure, {"stream_options"}, {}),
    "Pydantic's words in a message": (dialects.pydantic_text, {"stream_options"}, {}),
    "names in camel case": (dialects.camel_case, {"max_completion_tokens"}, {"max_tokens": 1000}),
    "an error in a 200": (dialects.refusing_in_a_200, {"temperature"}, {}),
    "an error as the first event": (dialects.refusing_in_a_stream, {"temperature"}, {}),
    "a 500 that names it": (dialects.litellm_500, {"temperature"}, {}),
    "a 404 that names it": (dialects.lost, {"max_completion_tokens"}, {"max_tokens": 1000}),
}


async def answer(client: httpx.AsyncClient, question: str = "Why was I charged twice?") -> str:
    response = await client.post("/ask", json={"question": question})
    assert response.status_code == 200, response.text
    return response.json()["answer"]


@pytest.mark.parametrize(("dialect", "left_out", "instead"), DIALECTS.values(), ids=list(DIALECTS))
async def test_a_server_that_refuses_a_parameter_answers_without_it(
    client: httpx.AsyncClient,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
    dialect: Callable[[Reply], Reply],
    left_out: set[str],
    instead: dict[str, int],
) -> None:
    """The first question is asked again at once; later ones are as the server wants them, which the log says once."""
    model.script("answer", dialect(ANSWER))
    assert [await answer(client, f"{QUESTION['question']} {n}") for n in range(3)] == ["Hello"] * 3
    first, *later = [call.body for call in model.of("answer")]
    assert left_out <= first.keys()
    assert len(later) == 3
    for request in later:
        assert not left_out & request.keys()
        assert request.items() >= instead.items()
        assert request["stream"]
    (name,) = left_out
    said = [record for record in caplog.records if f"refuses the parameter '{name}'" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]


async def test_a_classifier_that_refuses_a_parameter_names_the_desk(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """What is not streamed is mended in the same way."""
    model.script("classify", dialects.reasoning(dialects.mistral(label("billing"))))
    for _ in range(2):
        assert (await client.post("/ask", json=QUESTION)).json()["category"] == "billing"
    assert [sorted({"temperature", "max_completion_tokens"} & call.body.keys()) for call in model.of("classify")] == [
        ["max_completion_tokens", "temperature"],
        ["max_completion_tokens"],
        [],
        [],
    ]


async def test_a_strict_server_is_asked_for_what_it_knows(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """One parameter after the other is left out, the twin too, without a customer noticing."""
    model.script("answer", dialects.strict(ANSWER))
    assert await answer(client) == "Hello"
    assert model.of("answer")[-1].body.keys() == {"model", "messages", "stream"}
    model.forget()
    assert await answer(client) == "Hello"
    assert len(model.of("answer")) == 1


async def test_a_model_that_may_not_be_streamed_answers_in_one_piece(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """The answer is that of a whole reply, with its tokens."""
    model.script("answer", dialects.no_streams(label("Hello, all at once.", used=300)))
    for _ in range(2):
        response = (await client.post("/ask", json=QUESTION)).json()
        assert (response["answer"], response["tokens_used"]) == ("Hello, all at once.", 350)
    assert len(model.of("answer")) == 3


async def test_a_model_that_says_only_in_words_that_it_does_not_stream_answers(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """Not every server names the parameter."""
    refused = openai_refusal("streaming is not supported for this model")
    taken = label("Hello, all at once.")
    model.script("answer", dialects.unless(lambda request: bool(request.get("stream")), refused, taken))
    assert [await answer(client) for _ in range(2)] == ["Hello, all at once."] * 2
    assert len(model.of("answer")) == 3


async def test_a_classifier_that_only_streams_names_the_desk(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """It is streamed from then on."""
    message = "This model only support stream mode, please enable the stream parameter to access the model."
    taken = tokens(["bill", "ing"])
    model.script("classify", dialects.unless(lambda request: not request.get("stream"), openai_refusal(message), taken))
    for _ in range(2):
        assert (await client.post("/ask", json=QUESTION)).json()["category"] == "billing"
    assert [bool(call.body.get("stream")) for call in model.of("classify")] == [False, True, True]


LIMITS = {
    "the least": (
        "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 16, but got 5 instead.",
        lambda value: value < 16,
        16,
        1000,
    ),
    "the most, under another name": (
        "max_tokens is too large: 1000. This model supports at most 512 completion tokens",
        lambda value: value > 512,
        5,
        512,
    ),
    "a range": ("Range of max_tokens should be [1, 512]", lambda value: value > 512, 5, 512),
}


@pytest.mark.parametrize(("message", "is_refused", "label_tokens", "answer_tokens"), LIMITS.values(), ids=list(LIMITS))
async def test_a_limit_of_tokens_that_a_server_refuses_becomes_the_one_it_names(
    client: httpx.AsyncClient,
    model: ScriptedModel,
    message: str,
    is_refused: Callable[[int], bool],
    label_tokens: int,
    answer_tokens: int,
) -> None:
    """It is remembered."""

    def limited(taken: Reply) -> Reply:
        refused = openai_refusal(message)
        return dialects.unless(lambda request: is_refused(request["max_completion_tokens"]), refused, taken)

    model.script("classify", limited(label("billing")))
    model.script("answer", limited(ANSWER))
    assert [await answer(client) for _ in range(2)] == ["Hello"] * 2
    assert model.of("classify")[-1].body["max_completion_tokens"] == label_tokens
    assert model.of("answer")[-1].body["max_completion_tokens"] == answer_tokens
    assert len(model.calls) == len(model.of("embeddings")) + 5


NO_SYSTEM = {
    "OpenAI": openai_refusal("'messages[0].role' does not support 'system'.", param="messages[0].role"),
    "a template of Gemma's": openai_refusal("System role not supported", status=500),
}


@pytest.mark.parametrize("refused", NO_SYSTEM.values(), ids=list(NO_SYSTEM))
async def test_a_model_without_system_prompts_gets_them_before_the_question(
    client: httpx.AsyncClient, model: ScriptedModel, refused: Reply
) -> None:
    """As the beginning of the first message, by the classifier too, from then on."""

    def without_system(taken: Reply) -> Reply:
        return dialects.unless(lambda request: request["messages"][0]["role"] == "system", refused, taken)

    model.script("classify", without_system(label("billing")))
    model.script("answer", without_system(ANSWER))
    assert [await answer(client) for _ in range(2)] == ["Hello"] * 2
    for calls in (model.of("classify"), model.of("answer")):
        before, *later = [call.prompt for call in calls]
        assert len(later) == 2
        for prompt in later:
            assert [role for role, _ in prompt] == [role for role, _ in before[1:]]
            assert prompt[0] == ("user", f"{before[0][1]}\n\n{before[1][1]}")


@pytest.mark.parametrize("said", ["is temperature not supported?", "why is streaming not supported?"])
async def test_words_of_the_customer_change_no_request(
    client: httpx.AsyncClient, model: ScriptedModel, said: str
) -> None:
    """Not even where the server quotes them, and takes the request a moment later."""
    model.script("answer", openai_refusal(f"cannot read {said!r}"), ANSWER)
    assert (await client.post("/ask", json={"question": said})).json()["type"] == "model-refused"
    assert await answer(client) == "Hello"
    assert [call.body.keys() >= {"temperature", "stream"} for call in model.of("answer")] == [True, True]


async def test_a_server_that_never_streams_answers_in_one_piece(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """Some gateways ignore `stream` and send JSON."""
    model.script("answer", label("Hello, all at once."))
    assert await answer(client) == "Hello, all at once."


async def test_what_is_refused_without_a_parameter_too_is_not_remembered(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A refusal that only quotes a customer's words changes nothing for the next one."""
    quoting = openai_refusal("cannot read the message 'what temperature do servers need?'")
    model.script("answer", quoting, quoting, ANSWER)
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (502, "model-refused")
    assert [("temperature" in call.body) for call in model.of("answer")] == [True, False]
    assert await answer(client) == "Hello"
    assert "temperature" in model.of("answer")[-1].body


@pytest.mark.parametrize("code", [401, 404, 500])
async def test_only_a_refusal_of_the_request_is_about_its_words(
    client: httpx.AsyncClient, model: ScriptedModel, code: int
) -> None:
    """Whatever the text of another error names, every attempt is the same."""
    model.script("answer", status(code, error="temperature"))
    assert (await client.post("/ask", json=QUESTION)).status_code in (502, 503)
    assert all("temperature" in call.body for call in model.of("answer"))


async def test_each_model_has_its_own_dialect(serve: Serve, model: ScriptedModel) -> None:
    """A classifier that takes no temperature says nothing of the answer model, nor of the fallback."""
    model.script("classify", dialects.reasoning(label("billing")))

    async def by_model(call: Call, send: Send) -> None:
        await (ANSWER if call.body["model"] == "plan-b" else dialects.mistral(status(500)))(call, send)

    model.script("answer", by_model)
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url) as client:
        assert await answer(client) == "Hello"
    last = model.of("answer")[-1].body
    assert (last["temperature"], last["max_completion_tokens"]) == (0, 1000)


async def test_an_embedding_server_that_sends_no_base64_is_asked_for_numbers(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """`encoding_format` is a parameter like any other."""
    refused = refusal({"detail": [{"loc": ["body", "encoding_format"], "msg": "extra fields not permitted"}]}, 422)
    model.script("embeddings", dialects.without("encoding_format", refused, embedded(64)))
    assert await answer(client) == "Hello, world."
    assert await answer(client) == "Hello, world."
    assert [("encoding_format" in call.body) for call in model.of("embeddings")] == [True, False, False]


# The address


async def test_azure_before_its_v1_api_is_asked_by_deployment(serve: Serve, model: ScriptedModel) -> None:
    """Each model's name is its deployment, the version is in the query, and the key in Azure's own header."""
    base = model.url.removesuffix("/v1")
    for written in (base, f"{base}/openai", f"{base}/openai/deployments/gpt-4o"):
        model.forget()
        address = f"{written}?api-version=2024-10-21"
        async with serve(OPENAI_BASE_URL=address) as url, httpx.AsyncClient(base_url=url) as client:
            assert await answer(client) == "Hello, world."
        assert {call.path for call in model.calls} == {
            f"/openai/deployments/{name}?api-version=2024-10-21"
            for name in (
                "text-embedding-3-small/embeddings",
                "gpt-4o-mini/chat/completions",
                "gpt-4o/chat/completions",
            )
        }
        assert {call.api_key for call in model.calls} == {"sk-test-canary"}


async def test_embeddings_have_a_server_of_their_own(serve: Serve, model: ScriptedModel) -> None:
    """With its own key; the key of the chat models is not sent there."""
    async with scripted_model() as other:
        settings = {"SUPPORT_EMBEDDING_BASE_URL": other.url, "SUPPORT_EMBEDDING_API_KEY": "sk-other"}
        for variables, key in ((settings, "sk-other"), ({**settings, "SUPPORT_EMBEDDING_API_KEY": None}, "not-needed")):
            other.forget()
            async with serve(**variables) as url, httpx.AsyncClient(base_url=url) as client:
                assert await answer(client) == "Hello, world."
            assert {call.authorization for call in other.of("embeddings")} == {f"Bearer {key}"}
            assert other.of("answer") == []
    assert model.of("embeddings") == []
    assert {call.authorization for call in model.of("answer")} == {"Bearer sk-test-canary"}


async def test_a_key_for_embeddings_alone_goes_to_the_same_server(serve: Serve, model: ScriptedModel) -> None:
    """A proxy may have a key for each model."""
    async with serve(SUPPORT_EMBEDDING_API_KEY="sk-other") as url, httpx.AsyncClient(base_url=url) as client:
        assert await answer(client) == "Hello, world."
    assert {call.authorization for call in model.of("embeddings")} == {"Bearer sk-other"}
    assert {call.authorization for call in model.of("answer")} == {"Bearer sk-test-canary"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("registry.ollama.ai/library/gemma:2b does not support tools", 400),
        ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', 400),  # vLLM
        ("tools param requires --jinja flag", 500),  # llama.cpp
        ("`tool calling` is not supported with this model", 400),  # Groq
        ("This model doesn't support tool use.", 400),  # Bedrock
        ("m-1 is not supported with function calling.", 400),  # Together
        ("No endpoints found that support tool use. Try disabling", 404),  # OpenRouter
        ("Invalid schema for function 'book_call': schema must have type 'object'.", 400),  # OpenAI
    ],
)
def test_tools_are_left_out_where_a_server_refuses_them(message: str, code: int) -> None:
    """In the words of each server, but not where it only quotes a customer who knows these words."""
    response = httpx2.Response(code, request=httpx2.Request("POST", "http://m.example"))
    error = openai.APIStatusError("", response=response, body={"message": message})
    asked = [{"role": "user", "content": "Hello"}]
    offer = {"tools": [{"type": "function"}], "tool_choice": "none"}
    request = Dialect("m-1").request({"messages": asked, **offer})
    assert request.adapt(error)
    assert request.payload == {"messages": asked}
    quoted = [{"role": "user", "content": message}]
    assert not Dialect("m-1").request({"messages": quoted, **offer}).adapt(error)
    assert not Dialect("m-1").request({"messages": asked}).adapt(error)
