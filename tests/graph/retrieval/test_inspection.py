"""What `knowledge check` finds."""

from graph.retrieval.articles import Article, Library
from graph.retrieval.company import Company, Desk
from graph.retrieval.inspection import Inspection
from graph.retrieval.sources import LeftOut

COMPANY = Company("Acme", (Desk("general"), Desk("billing")), url="https://help.acme.example/en/{path}")
HOME = "https://help.acme.example/en"


def article(
    name: str, text: str = "Text.", desk: str | None = "general", title: str = "", language: str | None = None
) -> Article:
    return Article(name, title or name, text, desk=desk, url=f"{HOME}/{name}", language=language)


def inspected(*articles: Article, company: Company = COMPANY, **by_meaning: str) -> Inspection:
    return Inspection(Library(company, articles), by_meaning)


def test_desks_are_told_with_how_they_were_decided() -> None:
    """By rules, by meaning, or not yet."""
    found = inspected(article("a", desk="billing"), article("b", desk=None), article("c", desk=None), b="general")
    decided = [found.desk_of(one) for one in found.library.articles]
    assert decided == [("billing", "rules"), ("general", "meaning"), (None, "meaning")]
    alone = inspected(article("a"), company=Company("Acme", (Desk("general"),)))
    assert alone.desk_of(alone.library.articles[0]) == ("general", "one desk")


def test_folders_that_sound_internal_are_named() -> None:
    """They are read, since nothing else says that they are not for customers."""
    found = inspected(article("drafts/a"), article("faq:Internal/b/drafts/c"), article("d/internal"))
    assert found.doubtful_folders == {"drafts": 2, "Internal": 1}


def test_what_is_left_out_is_counted_by_reason_and_faults_are_named() -> None:
    """What is left out on purpose is no fault."""
    left_out = (
        LeftOut("a.md", "draft", is_fault=False),
        LeftOut("b.md", "internal", is_fault=False),
        LeftOut("c.md", "draft", is_fault=False),
        LeftOut("d.md:3", "not valid YAML", is_fault=True),
    )
    found = Inspection(Library(COMPANY, (), left_out), {})
    assert found.reasons == {"draft": 2, "internal": 1}
    assert list(found.reasons) == ["draft", "internal"]
    assert [fault.where for fault in found.faults] == ["d.md:3"]


def test_patterns_that_leave_nothing_out_are_told() -> None:
    """A pattern with a slip would let internal articles through without a word."""
    company = Company("Acme", (Desk("general"),), leave_out={"title": ("Internal:*", "Intrenal:*")})
    left_out = (LeftOut("a.md", "the company leaves it out (title: Internal:*)", is_fault=False),)
    assert Inspection(Library(company, (), left_out), {}).idle_patterns == ["title: Intrenal:*"]


def test_languages_and_lengths_are_told() -> None:
    """The most frequent language and the longest article come first."""
    some = [article(f"a{number}", "word " * number, language="de" if number > 1 else "en") for number in range(1, 8)]
    found = inspected(*some, article("b", "word"))
    assert found.languages == {"de": 6, "en": 1, "unknown": 1}
    assert [one.id for one in found.longest] == ["a7", "a6", "a5", "a4", "a3"]


def test_articles_with_one_title_or_one_text_are_told() -> None:
    """Case, accents and white space count for nothing; the same title in another language is another article."""
    found = inspected(
        article("a", "One  text.", title="Café hours", language="en"),
        article("b", "One text.", title="CAFE  hours", language="en"),
        article("c", "Another text.", title="Café hours", language="fr"),
    )
    assert [[one.id for one in some] for some in found.same_titles] == [["a", "b"]]
    assert [[one.id for one in some] for some in found.same_texts] == [["a", "b"]]


def test_links_that_lead_to_no_article_are_told() -> None:
    """An own address must be an article's, a relative one leads nowhere; other sites, anchors and code do not count."""
    text = f"""\
[good]({HOME}/b), [good](<{HOME}/b.html?x=1#part>), [home]({HOME}/), [anchor](#here), [mail](mailto:a@b.example)
[other](https://other.example/en/gone) ![image](gone.png) `[code](gone.md)`
[gone]({HOME}/gone#part) [relative](../gone.md "title") [again](../gone.md)

[reference]: /gone

```
[code](gone.md)
```
"""
    found = inspected(article("a", text), article("b"))
    assert [(one.id, link) for one, link in found.broken_links] == [
        ("a", f"{HOME}/gone#part"),
        ("a", "../gone.md"),
        ("a", "/gone"),
    ]


def test_pages_of_the_site_beside_the_help_centre_are_not_called_broken() -> None:
    """The pattern may be the site's, and the articles in one folder of it."""
    company = Company("Acme", (Desk("general"),), url="https://help.acme.example/{path}")
    links = f"[about](https://help.acme.example/about) [gone]({HOME}/gone)"
    found = inspected(article("a", links), article("b"), company=company)
    assert [link for _, link in found.broken_links] == [f"{HOME}/gone"]


def test_links_that_the_source_could_not_follow_are_told() -> None:
    """The text has only their words left."""
    lost = Article(id="a", title="a", text="x", desk="general", dead_links=("../gone.md",))
    assert [(one.id, link) for one, link in inspected(lost).broken_links] == [("a", "../gone.md")]


def test_without_addresses_no_own_link_is_called_broken() -> None:
    """Where no article's address is known, nothing can be said."""
    unknown = Article(id="a", title="a", text=f"[x]({HOME}/gone)", desk="general")
    assert inspected(unknown).broken_links == []
