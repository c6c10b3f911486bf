"""The fake model."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from local.process import Program, Service, answers

PROMPT: list[ChatCompletionMessageParam] = [{"role": "user", "content": "I was charged twice"}]


@contextmanager
def serving(*options: str) -> Generator[OpenAI]:
    program = Program(
        name="The model",
        command=lambda _, port: [sys.executable, "-m", "bench.model", str(port), *options],
        check=partial(answers, path="/v1/models"),
        url="http://127.0.0.1:{port}/v1",
    )
    with Service(program) as service, OpenAI(api_key="none", base_url=service.wait(), max_retries=0) as client:
        yield client


@pytest.fixture
def model() -> Generator[OpenAI]:
    """A model that waits 0.2 s before a text of three tokens, and 0.1 s between two tokens."""
    with serving("--tokens=3", "--ttft=0.2", "--gap=0.1") as client:
        yield client


def test_without_options_it_answers_40_tokens_at_once() -> None:
    """The text repeats itself until it is long enough."""
    with serving() as client:
        whole = client.chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert len((whole.choices[0].message.content or "").split()) == 40


def test_a_small_model_classifies_at_once(model: OpenAI) -> None:
    """Its answer is one word, whole or streamed."""
    whole = model.chat.completions.create(model="gpt-4o-mini", messages=PROMPT)
    assert whole.choices[0].message.content == "billing"
    chunks = model.chat.completions.create(model="gpt-4o-mini", messages=PROMPT, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "billing"


def test_a_text_has_the_pace_that_was_asked_for(model: OpenAI) -> None:
    """Tokens arrive after the wait, one by one, and the usage last."""
    began = time.perf_counter()
    arrived: list[float] = []
    used: list[int] = []
    chunks = model.chat.completions.create(
        model="gpt-4o", messages=PROMPT, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            arrived.append(time.perf_counter() - began)
        if chunk.usage:
            used.append(chunk.usage.completion_tokens)
    assert used == [3]
    assert len(arrived) == 3
    assert arrived[0] >= 0.2
    assert arrived[2] - arrived[0] >= 0.1
    whole = model.chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert whole.choices[0].message.content == "Both payments are "


def test_vectors_are_hashes_of_the_texts(model: OpenAI) -> None:
    """The same as base64, which the SDK asks for, and as numbers."""
    encoded = model.embeddings.create(model="m", input=["one", "two", "one"]).data
    assert [len(one.embedding) for one in encoded] == [384] * 3
    assert encoded[0].embedding == encoded[2].embedding != encoded[1].embedding
    plain = model.embeddings.create(model="m", input="two", encoding_format="float").data
    assert plain[0].embedding == encoded[1].embedding
