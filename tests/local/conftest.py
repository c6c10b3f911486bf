import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from local.process import Service
from local.vectors import Vectors


@pytest.fixture(scope="session")
def vectors() -> Vectors:
    return Vectors()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where local services create their directories, with any kept logs."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def openai(offline_model: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=offline_model.url, api_key=offline_model.secret, max_retries=0) as client:
        yield client


@pytest.fixture
def http(offline_model: Service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {offline_model.secret}"}
    with httpx.Client(base_url=offline_model.url, headers=headers, timeout=10) as client:
        yield client
