"""Groundedness: figures, dates, addresses and links have to be in an article."""

import pytest

from evals.evaluators import (
    Groundedness,
    Score,
)
from evals.outcome import Outcome
from harness.scoring import CONTACTS, case, outcome, score

ADDRESSES = list(CONTACTS.values())

GROUNDED = {
    "no figure at all": ("Yes, you can.", "nothing"),
    "the same figure": ("Within 30 days.", "within 30 days"),
    "in another word": ("a 30-day trial of 12\u20ac, 10%", "30 days, \u20ac12, 10 %"),
    "a decimal comma": ("It costs \u20ac122.40.", "Es kostet 122,40 \u20ac."),
    "a decimal point": ("Es kostet 122,40 \u20ac.", "It costs \u20ac122.40."),
    "no decimals": ("It costs \u20ac12.", "\u20ac12.00"),
    "decimals of none": ("It costs \u20ac12.00.", "\u20ac12"),
    "a comma for a point": ("1,000 users", "1.000 Nutzer"),
    "a comma for nothing": ("1,000 users", "1000 users"),
    "a point for nothing": ("1.000 Nutzer", "1000 users"),
    "nothing for a comma": ("1000 users", "1,000 users"),
    "nothing for a point": ("1000 users", "1.000 Nutzer"),
    "a narrow blank": ("1\u202f000 utilisateurs", "1,000 users"),
    "millions": ("1.000.000 Zeilen", "1,000,000 rows, 1000000 rows"),
    "thousands with decimals": ("1.234,50 \u20ac", "\u20ac1,234.50"),
    "a time of day": ("From 9:00 to 17:00.", "9:00\u201317:00"),
    "a range": ("5\u201310 days", "5 to 10 days"),
    "a numbered list": ("Do this:\n1. Open it.\n2. Click.\n 3) Save.", "nothing"),
    "a date": ("Closed on 24 December.", "On 24 december we close."),
    "an address": ("Write to Legal@Fernway.example.", "legal@fernway.example"),
    "a contact": (f"Write to {ADDRESSES[0]} or {ADDRESSES[1]}!", "nothing"),
    "a link": ("See https://status.fernway.example/now.", "(https://status.fernway.example/now)"),
    "a link in Markdown": ("[Status](https://status.fernway.example/2024)", "https://status.fernway.example/2024"),
    "a figure in words": ("Within thirty days, or two business days.", "30 days, 2 hours"),
    "a figure for one in words": ("Within 30 days.", "thirty days"),
    "words that count nothing": ("One of them is for you two.", "nothing"),
    "a name with a digit": ("HTML5, H264 and v2", "nothing"),
}
INVENTED = {
    "a date within another": ("Closed on 4 May.", "Closed on 24 May, within 4 hours.", "4 May"),
    "an address within another": ("Write to a@fernway.example.", "data@fernway.example", "a@fernway.example"),
    "a bare domain": ("See evil.com for more.", "nothing", "evil.com"),
    "another hour": ("Until 5 pm.", "Until 16:00.", "17:00"),
    "a figure": ("Within 31 days.", "within 30 days", "31"),
    "a figure within another": ("Within 3 days, 0 days.", "within 30 days", "0, 3"),
    "a figure around another": ("Within 130 days.", "within 30 days", "130"),
    "without its decimal point": ("It has 15 GB.", "1.5 GB", "15"),
    "with a decimal point too many": ("It has 1.5 GB.", "15 GB", "1.5"),
    "thousands": ("2,000 users", "1,000 users", "2,000"),
    "ten times as many": ("10,000 users", "1,000 users", "10,000"),
    "decimals for thousands": ("1250 users", "\u20ac12.50", "1250"),
    "other decimals": ("It costs \u20ac122.50.", "\u20ac122.40", "122.50"),
    "a time of day": ("From 9:30.", "from 9:00", "9:30"),
    "a time of day that is a figure": ("From 9:00.", "900 users", "9:00"),
    "a figure in a step": ("1. Wait 45 minutes.\n2. Click.", "click", "45"),
    "a figure in the middle of a line": ("You have 2. Good.", "nothing", "2"),
    "no article at all": ("Within 30 days.", "", "30"),
    "a date": ("Closed on 3 May.", "3 rooms, in May", "3 May"),
    "a date, month first": ("Closed on December 31.", "31 rooms, in December", "31 December"),
    "an address": ("Write to refunds@fernway.example.", "billing@fernway.example", "refunds@fernway.example"),
    "an address elsewhere": ("Write to help@evil.example!", "help@fernway.example", "help@evil.example"),
    "a link": ("See https://evil.example/login.", "nothing", "evil.example/login"),
    "a link in Markdown": ("[Help](http://evil.example)", "nothing", "evil.example"),
    "a link with its figure": ("See https://evil.example/30", "30", "evil.example/30"),
    "a link without its scheme": ("Open evil.example/login now", "nothing", "evil.example/login"),
    "another bare domain": ("Log in at fernway-login.ru now", "nothing", "fernway-login.ru"),
    "a link of www": ("Open www.evil.example.", "nothing", "evil.example"),
    "a figure in words": ("It takes five years.", "within 30 days", "5"),
    "a figure in words with a word between": ("Within six business days.", "within 30 days", "6"),
    "several": ("31 days, 7 users", "within 30 days", "31, 7"),
}


@pytest.mark.parametrize(("answer", "article"), GROUNDED.values(), ids=GROUNDED)
def test_what_an_article_says_is_grounded(answer: str, article: str) -> None:
    """Number formats do not matter; step numbers and our own addresses need no article."""
    assert score(Groundedness(ADDRESSES), case(), outcome(answer, "other", article)) == Score("groundedness", True)


@pytest.mark.parametrize(("answer", "article", "invented"), INVENTED.values(), ids=INVENTED)
def test_what_no_article_says_is_invented(answer: str, article: str, invented: str) -> None:
    """Each figure, date, address and link that no article has is named."""
    assert score(Groundedness(ADDRESSES), case(), outcome(answer, "other", article)) == Score(
        "groundedness", False, f"no article says {invented}"
    )


def test_what_only_the_customer_said_is_invented() -> None:
    """A figure from the customer's question is not grounded."""
    asked = case(question="I have 47 days, haven't I?", history=["It was 47 days."], must=["47"])
    assert score(Groundedness(ADDRESSES), asked, outcome("You have 47 days.", "30 days")).reason == "no article says 47"


def test_an_article_is_cited_by_its_text() -> None:
    """A figure in an article's id does not ground an answer."""
    answer = Outcome(case="one", repeat=0, answer="Error 422 means this.", passages={"error-422": "It means this."})
    assert score(Groundedness(ADDRESSES), case(), answer).reason == "no article says 422"
