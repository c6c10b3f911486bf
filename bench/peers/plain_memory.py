"""The plain graph with LangGraph's checkpointer for Redis: a conversation, whole or streamed."""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from pydantic import BaseModel

from bench.peers import plain_graph


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    url = f"{os.environ['REDIS_URL']}?max_connections=1000"  # with 50 clients the default 100 can run out
    async with plain_graph.lifespan(app), AsyncRedisSaver.from_conn_string(url) as saver:
        await saver.asetup()
        app.state.graph = plain_graph.builder.compile(checkpointer=saver)
        yield


app = FastAPI(lifespan=lifespan)


class Message(BaseModel):
    message: str
    session_id: str


def turn(body: Message) -> tuple[dict[str, Any], RunnableConfig]:
    return {"messages": [("user", body.message)]}, {"configurable": {"thread_id": body.session_id}}


@app.post("/chat")
async def chat(body: Message) -> dict[str, Any]:
    state = await app.state.graph.ainvoke(*turn(body))
    return {"answer": state["messages"][-1].text, "category": state["category"]}


@app.post("/chat/stream")
async def stream(body: Message) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        async for chunk, meta in app.state.graph.astream(*turn(body), stream_mode="messages"):
            if meta["langgraph_node"] == "answer" and chunk.text:
                yield f"event: token\ndata: {chunk.text}\n\n"
        yield "event: done\ndata: \n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
