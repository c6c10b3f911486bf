"""The peers are as short as in a tutorial."""

from pathlib import Path

import pytest

from bench.groups import GROUPS
from bench.rows import ROWS
from conftest import REPOSITORY

PEERS = sorted((REPOSITORY / "bench/peers").glob("*.py"))


@pytest.mark.parametrize("peer", PEERS, ids=lambda path: path.stem)
def test_a_peer_is_short(peer: Path) -> None:
    """It has fewer than 60 lines."""
    assert len(peer.read_text("utf-8").splitlines()) < 60


def test_every_row_is_measured() -> None:
    """Each row belongs to one group."""
    assert sorted(key for group in GROUPS for key in group.keys) == sorted(row.key for row in ROWS)
