"""One GET of Redis in a FastAPI route."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
ANSWER = "Both payments are checked, and the second one is returned in full within ten days of your message. " * 2


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    await redis.set("kept", ANSWER)
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/kept")
async def kept() -> dict[str, str | bytes | None]:
    return {"answer": await redis.get("kept")}
