"""Two calls of OpenAI's SDK in a FastAPI route: no retrieval, no memory, no limits."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

app = FastAPI()
client = AsyncOpenAI()
FACTS = {"billing": "Refunds within 30 days.", "technical": "Clear the cache.", "general": "Open from 9 to 5."}


class Question(BaseModel):
    question: str


def prompt(system: str, question: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


async def classify(question: str) -> str:
    task = "Classify the question as billing, technical or general. Reply with one word."
    reply = await client.chat.completions.create(model="gpt-4o-mini", messages=prompt(task, question))
    return (reply.choices[0].message.content or "").strip().lower()


@app.post("/ask")
async def ask(body: Question) -> dict[str, str | int]:
    category = await classify(body.question)
    task = f"Answer from this: {FACTS.get(category, '')}"
    reply = await client.chat.completions.create(model="gpt-4o", messages=prompt(task, body.question))
    used = reply.usage.total_tokens if reply.usage else 0
    return {"answer": reply.choices[0].message.content or "", "category": category, "tokens_used": used}


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        task = f"Answer from this: {FACTS.get(await classify(question), '')}"
        messages = prompt(task, question)
        async for chunk in await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield f"data: {text}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
