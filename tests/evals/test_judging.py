"""The judge's agreement with our labels, and the labels themselves."""

from pathlib import Path

import pytest

from conftest import REPOSITORY
from evals.errors import CannotMeasure
from evals.judging import kappa, load_labels
from graph.retrieval.articles import read_library
from graph.settings import AgentSettings


@pytest.mark.parametrize(
    ("both", "ours", "theirs", "neither", "agreement"),
    [
        (20, 5, 10, 15, 0.4),
        (45, 15, 25, 15, 0.06 / 0.46),
        (25, 35, 5, 35, 0.14 / 0.54),
        (10, 0, 0, 10, 1),
        (0, 10, 10, 0, -1),
        (5, 5, 5, 5, 0),
        (9, 0, 1, 0, 0),
        (10, 0, 0, 0, 0),
        (0, 0, 0, 10, 0),
    ],
)
def test_kappa_is_agreement_beyond_chance(both: int, ours: int, theirs: int, neither: int, agreement: float) -> None:
    """Kappa matches values computed by hand from the four counts of two raters."""
    one = [True] * (both + ours) + [False] * (theirs + neither)
    other = [True] * both + [False] * ours + [True] * theirs + [False] * neither
    assert kappa(one, other) == pytest.approx(agreement)
    assert kappa(other, one) == pytest.approx(agreement)


def test_kappa_needs_a_verdict_of_each() -> None:
    """Ratings of different lengths are an error."""
    with pytest.raises(ValueError, match="zip"):
        kappa([True, False], [True])


def test_the_committed_labels_are_enough_and_of_both_verdicts() -> None:
    """There are 60 labels of both verdicts, and each bad answer has a reason."""
    labels = load_labels(REPOSITORY / "evals/labels.yaml")
    known = {
        article.id for article in read_library(AgentSettings(SUPPORT_KNOWLEDGE=str(REPOSITORY / "knowledge"))).articles
    }
    assert len({label.id for label in labels}) == len(labels) == 60
    assert 20 <= sum(label.good for label in labels) <= 40
    assert [label.id for label in labels if not label.good and not label.why] == []
    assert [label.id for label in labels if not known.issuperset(label.articles)] == []


LABEL = "- id: one\n  question: How long?\n  articles: [refund]\n  answer: Within 30 days.\n  good: true\n"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "- one",
        LABEL.replace("  good: true\n", ""),
        LABEL.replace("true", "perhaps"),
        LABEL.replace("one", "Number One"),
        LABEL.replace("Within 30 days.", '""'),
        f"{LABEL}  score: 3\n",
        f"{LABEL}- id: [\n",
        LABEL.replace("How long", "Wie lang f\u00fcr").encode("latin-1"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, content: str | bytes | None) -> None:
    """An invalid label file is an error; the judge is never compared with part of it."""
    file = tmp_path / "labels.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CannotMeasure) as raised:
        load_labels(file)
    assert str(raised.value).startswith(
        f"{file}: has no valid labels; each needs id, question, articles, answer and good"
    )
