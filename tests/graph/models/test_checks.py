"""The check of the models."""

import pytest
from langchain_core.callbacks import AsyncCallbackManager
from langsmith.utils import tracing_is_enabled

from conftest import MakeSettings
from graph.models import open_models
from graph.models.checks import check_models


async def test_langchain_traces_no_check(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the environment turns its own tracing on, whose client would outlive the service."""
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "http://127.0.0.1:1")
    traced: list[bool] = []
    configure = AsyncCallbackManager.configure

    def noting(*arguments: object, **options: object) -> AsyncCallbackManager:
        traced.append(bool(tracing_is_enabled()))
        return configure(*arguments, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(AsyncCallbackManager, "configure", noting)
    settings = make_settings()
    async with open_models(settings) as models:
        assert await check_models(models, settings) == []
    assert traced
    assert not any(traced)
