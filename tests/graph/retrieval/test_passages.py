import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.retrieval.articles import Article
from graph.retrieval.passages import MOST, ArticlePassage, passages_of, size_of

SENTENCES = [f"Sentence number {number} says something about the subject." for number in range(200)]
LONG = " ".join(SENTENCES)


def cut(text: str) -> list[ArticlePassage]:
    return passages_of([Article("an-article", "An article", text)])


def sections(text: str) -> list[str]:
    return [passage.section for passage in cut(text)]


def test_a_short_article_is_one_passage() -> None:
    """With its headings, as it is written, and without a section."""
    text = "Intro.\n\n## Refunds\n\nWithin 30 days.\n\n## Invoices\n\nBy mail."
    (passage,) = cut(text)
    assert (passage.number, passage.section, passage.text) == (0, "", text)
    assert passage.embedded == f"An article\n\n{text}"


def test_a_long_article_is_cut_at_its_headings() -> None:
    """Each passage has the path of the headings above it, without Markdown."""
    some = LONG[:900]
    text = f"Intro. {some}\n\n# Money\n\n{some}\n\n## **Refunds** by [bank](x)\n\n{some}\n\n# `E-1042`\n\n{some}"
    assert sections(text) == ["", "Money", "Money > Refunds by bank", "E-1042"]
    assert [passage.number for passage in cut(text)] == [0, 1, 2, 3]
    assert cut(text)[2].embedded.startswith("An article > Money > Refunds by bank\n\nSentence")


def test_short_sections_are_together_in_a_passage() -> None:
    """With their headings between them, and the path that they have in common, or else the first one's."""
    some = LONG[:500]
    text = f"# Money\n\n## Refunds\n\n{some}\n\n## Bills\n\n{some}\n\n# Errors\n\n{some}\n\n# Codes\n\n{some}"
    first, second = cut(text)
    assert (first.section, second.section) == ("Money", "Errors")
    assert first.text == f"{some}\n\n## Bills\n\n{some}".replace(". \n", ".\n")


def test_a_long_section_is_cut_between_sentences() -> None:
    """Into parts of about equal length, none of which is longer than a passage may be."""
    passages = cut(f"## Long\n\n{LONG}")
    assert {passage.section for passage in passages} == {"Long"}
    assert all(MOST / 2 < len(passage.text) <= MOST for passage in passages)
    assert all(passage.text.startswith("Sentence") and passage.text.endswith(".") for passage in passages)
    assert re.findall(r"number (\d+)", " ".join(passage.text for passage in passages)) == [*map(str, range(200))]


def test_each_part_of_a_list_has_the_sentence_before_it() -> None:
    """An item alone would not say what it is an item of."""
    items = [f"- {sentence}\n  More of it." for sentence in SENTENCES[:60]]
    passages = cut("To get your money back:\n\n" + "\n".join(items))
    assert len(passages) > 2
    for passage in passages:
        assert passage.text.startswith("To get your money back:\n\n- Sentence")
        assert passage.text.endswith("  More of it.")


def test_each_part_of_a_table_has_its_header() -> None:
    """And a row is never cut."""
    rows = [f"| plan {number} | {sentence} |" for number, sentence in enumerate(SENTENCES[:60])]
    passages = cut("| plan | what it has |\n|---|---|\n" + "\n".join(rows))
    assert len(passages) > 2
    for passage in passages:
        assert passage.text.startswith("| plan | what it has |\n|---|---|\n| plan ")
        assert all(line.endswith("|") for line in passage.text.splitlines())
    assert sum(passage.text.count("| plan ") for passage in passages) == 60 + len(passages)


def test_a_table_without_rows_is_its_header() -> None:
    """Also in an article that is cut."""
    table = "| Role | Permission |\n| --- | --- |"
    texts = [passage.text for passage in cut(f"{LONG[:1400]}\n\n{table}\n\n{LONG[:1400]}")]
    assert sum(table in text for text in texts) == 1


def test_code_is_not_cut() -> None:
    """And a line of it that begins as a heading does is none."""
    code = "```sh\n" + "\n".join(f"# step {number}\nrun --number {number}" for number in range(40)) + "\n```"
    passages = cut(f"## Steps\n\n{LONG[:1200]}\n\nRun this:\n\n{code}\n\n{LONG[:600]}")
    assert {passage.section for passage in passages} == {"Steps"}
    assert [passage.text for passage in passages if code in passage.text]
    assert all(passage.text.count("```") in (0, 2) for passage in passages)


def test_code_longer_than_a_passage_is_cut_between_lines() -> None:
    """Each part is code of its own."""
    lines = [f"print('line {number}')" for number in range(300)]
    passages = cut("```python\n" + "\n".join(lines) + "\n```")
    assert len(passages) > 3
    assert all(passage.text.startswith("```python\nprint") and passage.text.endswith(")\n```") for passage in passages)
    assert sum(passage.text.count("print") for passage in passages) == 300


def test_text_without_spaces_is_cut_between_its_sentences() -> None:
    """Its passages are shorter, since a model reads more tokens of it."""
    sentences = [f"これは{number}番目の文で、返金の方法について説明しています。" for number in range(100)]
    passages = cut("".join(sentences))
    assert len(passages) > 5
    assert all(len(passage.text) <= MOST / 2 and passage.text.endswith("。") for passage in passages)
    assert "".join(passage.text for passage in passages) == "".join(sentences)


@pytest.mark.parametrize("text", ["x" * 300_000, "漢" * 20_000, "a b " * 50_000, "#" * 5000, "| a " * 5000])
def test_whatever_has_no_sentences_is_cut_all_the_same(text: str) -> None:
    """Nothing of it is lost."""
    passages = cut(text)
    assert all(size_of(passage.text) <= MOST for passage in passages)
    assert "".join(passage.text for passage in passages).replace(" ", "") == text.replace(" ", "")


PIECES = st.sampled_from(
    [
        "# One",
        "## Two",
        "- item\n- other",
        "1. first\n2. second",
        "| a | b |\n|---|---|\n| c | d |",
        "```\ncode\n# x\n```",
        "Lead:",
        "> quote",
        LONG[:1700],
        LONG[:700],
        "漢字かな" * 300,
        "<b>html</b>",
        "    indented",
        "***",
        "",
    ]
)


@given(st.lists(PIECES, max_size=12))
def test_no_word_is_lost(pieces: list[str]) -> None:
    """Whatever a text is made of, each of its words is in a passage or its section, and no passage is too long."""
    text = "\n\n".join(pieces)
    passages = cut(text)
    found = " ".join(f"{passage.section} {passage.text}" for passage in passages)
    lost = set(re.findall(r"[a-z0-9]+|\w", text)) - set(re.findall(r"[a-z0-9]+|\w", found))
    assert lost <= {*"OneTwo", "ne", "wo"}  # a heading without text has no passage
    assert all(size_of(passage.text) <= MOST + 400 for passage in passages)
    assert len({(passage.article.id, passage.number) for passage in passages}) == len(passages)
