"""company.yaml: what it says, and how its faults are named."""

import logging
import re
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY
from graph.errors import KnowledgeError
from graph.retrieval.company import MOST_DESKS, UNNAMED, Desk, company_of, load_company

FULL = """\
name: Fahrräder Müller
about: ein Fahrradladen
url: https://hilfe.mueller.example/{path}
language: de
leave_out:
  title: "Intern:*"
  status: [draft, archived]
fields: { articles: data, text: body_html }

desks:
  allgemein:
  rückgabe:
    contact: rückgabe@mueller.example
    about: Rücksendungen,
      Umtausch
    hours: 9 bis 17 Uhr
    rules:
      folder: [rueckgabe, umtausch/*]
      tags: retoure
    examples:
      - Wie gebe ich etwas zurück?
      - 30
"""

FAULTS = {
    "not a mapping": ("- name\n", ["1: must be lines of `name: value`"]),
    "empty": ("", ["1: must be lines"]),
    "no name": ("language: en\n", ["1: name is missing"]),
    "an empty name": ("desks: {a: }\nname:\n", ["2: name: must be the company's name"]),
    "a name of two": ("name: [a, b]\n", ["1: name: must be text"]),
    "the old form": ("name: A\ncontacts:\n  billing: b@a.example\n", ["2: contacts: .*desks: {billing: {contact: "]),
    "an unknown key": ("name: A\ndesk: {}\n", [r"2: desk: is unknown \(did you mean desks\?\); must be one of name, "]),
    "an unknown key of a desk": (
        "name: A\ndesks:\n  a:\n    email: x\n",
        ["4: desks.a.email: is unknown; must be one of contact, about, examples, hours, opening, hand_over, rules"],
    ),
    "hours that nobody can keep": (
        """name: A
desks:
  a:
    opening:
      zone: Berlin
      days:
        Mun: 09:00-17:00
        Tue: 17:00-09:00
        Wed: [9:00-12:00, 11:00-13:00]
        Mon-Tue: 09:00-10:00
      holidays: [Christmas]
      reply: soon
      replies: 1
""",
        [
            "5: desks.a.opening.zone: must be a time zone's IANA name, such as Europe/Berlin",
            "7: desks.a.opening.days.Mun: must be weekdays, such as Mon, Mon-Fri or Mon,Wed",
            "8: desks.a.opening.days.Tue: must be times of one day, the earlier first, such as 09:00-17:00",
            "9: desks.a.opening.days.Wed: has times that overlap",
            "10: desks.a.opening.days.Mon-Tue: Tue has times already; give it all of them in one line",
            "11: desks.a.opening.holidays: must be dates, such as 2026-12-25, or 12-25 for each year",
            "12: desks.a.opening.reply: must be minutes or hours, such as 30 min or 4 h",
            r"13: desks.a.opening.replies: is unknown \(did you mean reply\?\)",
        ],
    ),
    "hours without days": (
        "name: A\ndesks:\n  a:\n    opening: {reply: 1 h}\n",
        ["4: desks.a.opening.days: is missing", "4: desks.a.opening.zone: is missing"],
    ),
    "an unknown label": (
        "name: A\ndesks:\n  a:\n    rules:\n      tag: x\n",
        [r"5: desks.a.rules.tag: is unknown \(did you mean tags\?\); must be one of folder, tags, "],
    ),
    "a key twice": ("name: A\nname: B\n", ["2: name: appears twice"]),
    "a desk twice": ("name: A\ndesks:\n  a:\n  b:\n  a:\n", ["5: desks.a: appears twice"]),
    "a desk of two words": ("name: A\ndesks:\n  two words:\n", ["3: desks.two words: must be one word"]),
    "a desk called none": ("name: A\ndesks:\n  None:\n", ["3: desks.None: must be one word.* not none"]),
    "desks that are alike": (
        "name: A\ndesks:\n  rückgabe:\n  Ruckgabe:\n",
        ["4: desks.Ruckgabe: can't be told from rückgabe"],
    ),
    "no desk": ("name: A\ndesks:\n", ["2: desks: must be lines"]),
    "a list of desks": ("name: A\ndesks: [a, b]\n", ["2: desks: must be lines"]),
    "a desk that is text": ("name: A\ndesks:\n  a: b@a.example\n", ["3: desks.a: must be lines of `name: value`"]),
    "thirteen desks": (
        "name: A\ndesks:\n" + "".join(f"  d{number}:\n" for number in range(13)),
        ["3: desks: are 13; must be at most 12"],
    ),
    "an address without a scheme": ("name: A\nurl: help.a.example\n", ["2: url: must begin with https://"]),
    "a language in words": ("name: A\nlanguage: german\n", ["2: language: must be two lower-case letters"]),
    "a long text": (f"name: A\nabout: {'x' * 501}\n", ["2: about: has 501 characters; must have at most 500"]),
    "not YAML": ("name: A\ndesks: [\n", ["3: not valid YAML"]),
    "tabs": ("name: A\ndesks:\n\tb:\n", ["3: not valid YAML; indent with spaces"]),
    "an alias that is a pattern": (
        "name: A\nleave_out:\n  title: *draft\n",
        ["3: \\*draft: put it in quotation marks"],
    ),
    "an unknown place": ("name: A\nurl: https://a.example/{page}\n", ["2: url: must have {path}"]),
    "one address for all": ("name: A\nurl: https://a.example/\n", ["2: url: must have {path}"]),
    "an unknown field": ("name: A\nfields: {body: x}\n", ["2: fields.body: is unknown"]),
    "a control character": ("name: A\nabout: \x07\n", ["2: not valid YAML"]),
    "several at once": (
        "contact: x\ndesks:\n  a b:\n  c:\n    hour: 9\n",
        ["1: contact: is unknown", "1: name is missing", "3: desks.a b: must", "5: desks.c.hour: is unknown"],
    ),
}


def loaded(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "company.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_that_it_says_is_read(tmp_path: Path) -> None:
    """Desks keep their order; a text alone is a list of one, and what is left empty is empty."""
    company = load_company(loaded(tmp_path, FULL))
    assert (company.name, company.about, company.language) == ("Fahrräder Müller", "ein Fahrradladen", "de")
    assert company.url == "https://hilfe.mueller.example/{path}"
    assert company.leave_out == {"title": ("Intern:*",), "status": ("draft", "archived")}
    assert company.fields == {"articles": "data", "text": "body_html"}
    assert company.desks == (
        Desk("allgemein"),
        Desk(
            "rückgabe",
            contact="rückgabe@mueller.example",
            about="Rücksendungen, Umtausch",
            examples=("Wie gebe ich etwas zurück?", "30"),
            hours="9 bis 17 Uhr",
            rules={"folder": ("rueckgabe", "umtausch"), "tags": ("retoure",)},
        ),
    )


@pytest.mark.parametrize(("text", "lines"), FAULTS.values(), ids=list(FAULTS))
def test_every_fault_is_named_with_its_line(tmp_path: Path, text: str, lines: list[str]) -> None:
    """The error has a line for each: the file, the line, and what would be right."""
    path = loaded(tmp_path, text)
    with pytest.raises(KnowledgeError) as caught:
        load_company(path)
    told = str(caught.value).splitlines()
    assert len(told) == len(lines)
    for said, line in zip(told, lines, strict=True):
        assert re.match(rf"{re.escape(str(path))}:{line}", said), said


def test_only_the_first_of_many_faults_are_named(tmp_path: Path) -> None:
    """After twenty the rest is counted."""
    path = loaded(tmp_path, "name: A\n" + "".join(f"key{number}: x\n" for number in range(25)))
    with pytest.raises(KnowledgeError) as caught:
        load_company(path)
    assert str(caught.value).splitlines()[20:] == [f"{path}: and 5 more"]


def aliases() -> str:
    lines = ["name: A", "a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (aliases(), r":3: \*a0: put it in quotation marks, or repeat the value"),
        ("name: A\ndesks: " + "[" * 500, ":1: nested too deeply"),
        ("name: A\ndesks: " + "{a: " * 500, ":1: nested too deeply"),
        ("name: A\n# " + "x" * 200_000, ": is larger than 200,000 bytes"),
        ("name: A\nabout: !!python/object/apply:os.getcwd []\n", ":2: about: must be text"),
    ],
    ids=["aliases", "lists", "mappings", "a big file", "an object"],
)
def test_a_bomb_is_refused_by_name_at_once(tmp_path: Path, text: str, named: str) -> None:
    """What would take memory or minutes is an error within seconds."""
    began = time.process_time()
    with pytest.raises(KnowledgeError, match=named):
        load_company(loaded(tmp_path, text))
    assert time.process_time() - began < 60


def test_a_file_that_is_not_utf8_or_not_there_is_named(tmp_path: Path) -> None:
    """Latin-1 is an error at its line, and a missing file that is named is none without a word."""
    path = tmp_path / "company.yaml"
    path.write_bytes("name: A\nabout: Fahrräder\n".encode("latin-1"))
    with pytest.raises(KnowledgeError, match=r"company\.yaml:2: not valid UTF-8"):
        load_company(path)
    with pytest.raises(KnowledgeError, match=r"nowhere\.yaml: can't be read"):
        company_of(tmp_path / "nowhere.yaml", tmp_path)


def test_the_setting_comes_before_the_folder(tmp_path: Path) -> None:
    """SUPPORT_COMPANY names the file; without it the folder of articles has it."""
    loaded(tmp_path, "name: Here\n")
    other = tmp_path / "other.yaml"
    other.write_text("name: There\n")
    assert company_of(other, tmp_path).name == "There"
    assert company_of(None, tmp_path).name == "Here"


def test_without_a_file_there_is_one_desk_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is named as a contact, which the log says."""
    with caplog.at_level(logging.WARNING):
        assert company_of(None, tmp_path) == UNNAMED
        assert company_of(None, None) == UNNAMED
    assert UNNAMED.desks == (Desk("general"),)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "one desk without a contact" in caplog.text


def test_a_company_without_desks_has_one(tmp_path: Path) -> None:
    """A name alone is enough."""
    assert load_company(loaded(tmp_path, "name: Acme\n")).desks == (Desk("general"),)


def test_a_desk_is_found_by_its_name_or_is_the_first(tmp_path: Path) -> None:
    """What Studio or an old conversation says goes somewhere."""
    company = load_company(REPOSITORY / "knowledge/company.yaml")
    assert company.names == ("general", "billing", "technical")
    assert company.desk("billing").contact == "billing@fernway.example"
    assert company.desk("gone").name == "general"
    assert MOST_DESKS == 12


def test_the_file_may_have_the_short_suffix(tmp_path: Path) -> None:
    """Else what it leaves out would be told to customers."""
    (tmp_path / "company.yml").write_text("name: Acme\n")
    assert company_of(None, tmp_path).name == "Acme"
