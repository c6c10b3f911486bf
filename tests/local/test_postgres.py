import importlib.util
import os
import signal
import tempfile
import time

import psycopg
import pytest

from local.postgres import start_postgres
from local.process import LocalServiceError


def test_it_has_pgvector_asks_for_its_password_and_survives_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs for any user, also root, and keeps committed data across a restart."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # the unprivileged user cannot enter pytest's folder
    with start_postgres() as service:
        url = service.wait(30)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE TABLE kept AS SELECT '[1,2]'::vector(2) AS v")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace(service.secret, "wrong"))
        assert service.revive() is None
        os.kill(service.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while service.revive() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while True:
            try:
                with psycopg.connect(url) as connection:
                    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_where_it_is_missing_one_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform without a wheel the error says what to set."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LocalServiceError, match=r"run: uv run --group cluster .*, or set DATABASE_URL"):
        start_postgres()
