import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.vectors import Vectors


@pytest.fixture(scope="session")
def vectors() -> Iterator[Vectors]:
    """The embeddings without the shipped vectors."""
    vectors = Vectors(Path("/nonexistent"))
    yield vectors
    vectors.close()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the services that a test starts make their directories; a kept log goes with it."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory
