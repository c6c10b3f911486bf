"""Whether a run is worse than the committed one."""

import pytest

from bench.check import missing, worse
from harness.bench_runs import STEADY, alone, run


def test_a_ratio_that_rose_is_named() -> None:
    """Only the row that got worse has a line, with both ratios."""
    before = run(ask_graph=STEADY, chat_graph=STEADY)
    now = run(ask_graph=STEADY, chat_graph=[value + 0.1 for value in STEADY])
    [line] = worse(before, now)
    assert line.startswith("chat-graph: ratio 0.50 before, 0.60 now")


@pytest.mark.parametrize(
    "ratios",
    [STEADY, [value * 1.09 for value in STEADY], [0.3, 0.5, 0.7, 0.6, 0.55], [0.1] * 5],
    ids=["the same", "less than a tenth", "within the quartiles", "better"],
)
def test_noise_passes(ratios: list[float]) -> None:
    """A small rise passes, as does one within a wide spread, and an improvement."""
    assert worse(run(ask_graph=STEADY), run(ask_graph=ratios)) == []


def test_a_wide_spread_before_is_noise_too() -> None:
    """The spreads of both runs count."""
    noisy = [0.3, 0.4, 0.5, 0.6, 0.7]
    later = [value + 0.2 for value in STEADY]
    assert worse(run(ask_graph=noisy), run(ask_graph=later)) == []
    assert worse(run(ask_graph=STEADY), run(ask_graph=later)) != []


def test_a_row_without_a_peer_is_judged_by_its_bar() -> None:
    """It got worse if it misses its bar, unless it did before."""
    assert worse(alone(redis_turn=6), alone(redis_turn=8)) == []
    assert worse(alone(redis_turn=8), alone(redis_turn=9)) == ["redis-turn: 9 commands, more than 8"]
    assert worse(alone(redis_turn=9), alone(redis_turn=10)) == []


def test_a_missing_row_is_named() -> None:
    """Unless the run says why; a row that was never measured before is named too."""
    before = run(ask_graph=STEADY, chat_graph=STEADY)
    assert missing(before, before) == []
    assert missing(before, run(ask_graph=STEADY)) == ["chat-graph"]
    assert missing(before, run(ask_graph=STEADY, left_out={"chat-graph": "a quick run leaves it out"})) == []
    assert missing(run(ask_graph=STEADY), before) == ["chat-graph"]
