"""FastAPI, LangGraph and ChatOpenAI: classify, retrieve from LangGraph's store in memory, answer."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore

articles = {path.stem: path.read_text() for path in Path(os.environ["ARTICLES"]).glob("*.md")}
embeddings = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)
store = InMemoryStore(index={"dims": 384, "embed": embeddings, "fields": ["text"]})
small, large = ChatOpenAI(model="gpt-4o-mini"), ChatOpenAI(model="gpt-4o", stream_usage=True)


class State(MessagesState):
    category: str
    passages: list[str]


async def classify(state: State) -> dict[str, Any]:
    task = ("system", "Classify the question as billing, technical or general. Reply with one word.")
    return {"category": (await small.ainvoke([task, state["messages"][-1]])).text.strip().lower()}


async def retrieve(state: State) -> dict[str, Any]:
    found = await store.asearch(("articles",), query=state["messages"][-1].text, limit=5)
    return {"passages": [item.value["text"] for item in found]}


async def answer(state: State) -> dict[str, Any]:
    task = ("system", "Answer from these articles alone:\n\n" + "\n\n".join(state["passages"]))
    return {"messages": [await large.ainvoke([task, *state["messages"][-20:]])]}


builder = StateGraph(State).add_node(classify).add_node(retrieve).add_node(answer)
builder.add_edge(START, "classify").add_edge(START, "retrieve").add_edge(["classify", "retrieve"], "answer")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    for name, text in articles.items():
        await store.aput(("articles",), name, {"text": text})
    app.state.graph = builder.compile()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/ask")
async def ask(question: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    state = await app.state.graph.ainvoke({"messages": [("user", question)]})
    last = state["messages"][-1]
    return {"answer": last.text, "category": state["category"], "tokens_used": last.usage_metadata["total_tokens"]}
