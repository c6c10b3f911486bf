"""Masking of names."""

import pytest

from graph.retrieval.names import Names

ARTICLES = ["Fernway syncs with Google Calendar. Mark the card as paid. Invoices have your company's name."]


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("My name is jane doe and I can't log in", "My name is [name] and I can't log in"),
        ("ich heiße Jürgen Müller, wo ist meine Rechnung?", "ich heiße [name], wo ist meine [name]?"),
        ("Why is the card paid? Thanks, Mark", "Why is the card paid? Thanks, [name]"),
        ("Hi Fernway, I'm Zoë from Contoso.", "Hi [name], I'm [name] from [name]."),
        ("Where are invoices?\nKind regards\nOluwaseun Adeyemi", "Where are invoices?\nKind regards\n[name]"),
        ("Where are invoices?\n\nOluwaseun", "Where are invoices?\n\n[name]"),
        ("Please send it to 12 Baker Street, London", "Please send it to 12 [name], [name]"),
        ("J. Doe and Anna-Lena Smith can't log in", "[name] and [name] can't log in"),
        ("Does Fernway sync with Google Calendar?", "Does Fernway sync with Google Calendar?"),
        ("Horoscope?", "Horoscope?"),
        ("Hello. Ada", "Hello. [name]"),
        ("Unfortunately nothing works", "Unfortunately nothing works"),
        ("I paid. Yesterday I paid. I'm lost: How come?", "I paid. Yesterday I paid. I'm lost: How come?"),
        ("Is [email] the [phone] of [name]?", "Is [email] the [phone] of [name]?"),
        ("", ""),
    ],
)
def test_what_may_be_a_name_is_masked(question: str, shown: str) -> None:
    """A capitalised word that no article and no other question has, and whatever follows a greeting."""
    assert Names(ARTICLES, [question, "nothing"]).masked(question) == shown


def test_what_others_ask_for_too_is_shown() -> None:
    """A product is no name: several questions have it."""
    questions = ["Can I link QuickBooks?", "QuickBooks export for Contoso", "is there quickbooks for Ada"]
    names = Names(ARTICLES, questions)
    assert [names.masked(question) for question in questions] == [
        "Can I link QuickBooks?",
        "QuickBooks export for [name]",
        "is there quickbooks for [name]",
    ]
