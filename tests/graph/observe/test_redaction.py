"""Redaction of texts: what is masked, and what stays readable."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn

from graph.observe.redaction import Redactor
from harness.redacting import KEPT

OURS = "sa_" + "aB3-_" * 8 + "xyz"
AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
GITHUB = "ghp_" + "a1" * 18
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_123"

MASKED = {
    # e-mail addresses
    "Mail john.doe@mail.example, please": "Mail [email], please",
    "JOHN@MAIL.EXAMPLE.": "[email].",
    "john+tag@mail.co.example": "[email]",
    "<o'brien@mail.example>": "<[email]>",
    "'a@mail.example', \"b@mail.example\"": "'[email]', \"[email]\"",
    '"john \\"d\\" doe"@mail.example': "[email]",
    "ü.müller@bücher.example": "[email]",
    "\u7528\u6237@\u4f8b\u5b50.\u516c\u53f8": "[email]",
    "x@xn--bcher-kva.example": "[email]",
    "x@[192.168.0.1]": "[email]",
    "john\uff20mail.example": "[email]",
    "jo\u200bhn@ma\u00adil.example": "[email]",
    f"email=a@mail.example&to={KEPT}": f"email=[email]&to={KEPT}",
    "https://shop.example/?q=john%40mail.example": "https://shop.example/?q=[email]",
    "mailto:bounce+john=mail.example@list.example": "mailto:[email]",
    r"repr \njohn@mail.example": r"repr \[email]",
    "x@\u4f8b\u5b50\u3002\u516c\u53f8": "[email]",
    "a/@mail.example": "[email]",
    f"not.{KEPT}": "[email]",
    # cards
    "Card 4111111111111111.": "Card [card].",
    "4111 1111 1111 1111, exp 12/28": "[card], exp 12/28",
    "5500-0000-0000-0004": "[card]",
    "3782 822463 10005": "[card]",
    "4222222222222 (13)": "[card] (13)",
    "6304000000000000000 (19)": "[card] (19)",
    "4111.1111.1111.1111 or 4111/1111/1111/1111 or 4111_1111_1111_1111": "[card] or [card] or [card]",
    "4111\n1111\n1111\n1111": "[card]",
    "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1": "[card]",
    "4111\u00a01111\u20131111\u20111111": "[card]",
    "\uff14\uff11\uff11\uff11 1111 1111 1111": "[card]",
    "\u0664\u0661\u0661\u0661111111111111": "[card]",
    "4\u200b1\u200b1\u200b11111\u20601111\ufeff1111": "[card]",
    "order 12345 4111 1111 1111 1111 and 5500000000000004": "order 12345 [card] and [card]",
    "visa4111111111111111x2": "visa[card]x2",
    "q=card%204111111111111111": "q=card%20[card]",
    # IBANs
    "NL91 ABNA 0417 1643 00 is mine": "[iban] is mine",
    "nl91abna0417164300": "[iban]",
    "(DE89370400440532013000)": "([iban])",
    "BE41 5390 0754 7035": "[iban]",
    "GB29-NWBK-6016-1331-9268-19": "[iban]",
    "IBANNL91ABNA0417164300EUR": "IBAN[iban]EUR",
    "NL91\u00a0ABNA\u00a00417\u00a01643\u00a000": "[iban]",
    # phone numbers
    "+31 6 12345678 2 weeks": "[phone] 2 weeks",
    "+31(0)20-123 45 67": "[phone]",
    "0031 6 12345678": "[phone]",
    "tel:+1-202-555-0143;": "tel:[phone];",
    "+1 555 123 4567": "[phone]",
    "to=%2B31612345678": "to=[phone]",
    "Call 06 12 34 56 78 or 020-1234567.": "Call [phone] or [phone].",
    "(020) 7946 0958": "[phone]",
    "070-1887525, 02 701 53 66": "[phone], [phone]",
    "01 71 32 25 19, 01872 520509, 09775/251504": "[phone], [phone], [phone]",
    "+49 30 12345 678": "[phone]",
    "+49 30-12-2034-567, +49-30-12-2034": "[phone], [phone]",
    "020\u2212123\u22124567": "[phone]",
    "0171 / 1234567": "[phone]",
    "02/123.45.67": "[phone]",
    "\uff10\uff16-\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18": "[phone]",
    "(555) 123-4567, 1-800-555-0199 or 212.555.0143": "[phone], [phone] or [phone]",
    r"repr \n0612345678": r"repr \n[phone]",
    "on 01-02-2024 06 12345678": "on 01-02-2024 [phone]",
    # keys
    "sk-test-canary": "[key]",
    r"\nsk-proj-abcdefgh1234": r"\n[key]",
    "Authorization: bEARER abcdefgh1": "Authorization: bEARER [key]",
    "Bearer test-key-of-letters-alone": "Bearer [key]",
    "id AKIAIOSFODNN7EXAMPLE": "id [key]",
    f"AWS_SECRET_ACCESS_KEY={AWS}": "AWS_SECRET_ACCESS_KEY=[key]",
    f'"SecretAccessKey": "{AWS}"': '"SecretAccessKey": "[key]"',
    f"https://{GITHUB}@git.example/a": "https://[key]@git.example/a",
    "github_pat_11ABCDEFG0123456789_abc": "[key]",
    "xoxb-not-a-token": "[key]",
    "https://hooks.slack.com/services/T0/B0/abc": "https://hooks.slack.com/services/[key]",
    f"{JWT}.": "[key].",
    "eyJhbGciOiJkaXIifQ..abc.def.ghi": "[key]",
    f"({OURS})": "([key])",
    "api_key=abcdef0123456789abcdef": "api_key=[key]",
    "AIzaSyA0123456789abcdefghijklmnopqrstuv": "[key]",
    "glpat-0123456789abcdefghij": "[key]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----": (
        "-----BEGIN RSA PRIVATE KEY-----[key]-----END RSA PRIVATE KEY-----"
    ),
    f"sa_\u200b{OURS[3:]}": "[key]",
    "redis://:pw@host:6379/0": "redis://:[key]@host:6379/0",
    "redis://default:p@ss/w:rd@[::1]:6379": "redis://default:[key]@[::1]:6379",
    "postgresql://u:p@db.example/x": "postgresql://u:[key]@db.example/x",
    "smtp://a@mail.example:pw@smtp.example:25": "smtp://[email]:[key]@smtp.example:25",
    "redis://:1,2@h redis://:pw@h": "redis://:[key]@h redis://:[key]@h",
    "host=db password='my pw' dbname=x": "host=db password=[key] dbname=x",
    "host=db password='pw": "host=db password=[key]",
    "postgresql://h/x?password=pw&user=u": "postgresql://h/x?password=[key]&user=u",
    # several
    "a@mail.example +31612345678 4111111111111111": "[email] [phone] [card]",
}

READABLE = [
    "",
    f"Write to {KEPT}, HELP@Company.Example or https://h.example/?to={KEPT}",
    f"'{KEPT}'",
    "https://h.example/?to=help%40company.example",
    "order 12345678",
    "order #100234567",
    "order 4000123456",
    "order 0000123456",
    "ORD-2024-000123",
    "invoice 2024-0001234",
    "invoice 2024-0612345678",
    "rate 1.0612345678",
    "part 234-567-8901-2",
    "codes 04903392 521360",
    "within 30 days",
    "3 - 5 business days",
    "on 2024-01-02 at 10:30:15",
    "2026-11-23T02:35:00.123456+00:00",
    "2026-11-23 02:35:00,123",
    "from 2024-01-02 2024-03-04",
    "01-02-2024 10:30",
    "05.03.2024 10:30:00",
    "01/02/2024 08:15",
    "20240102103000",
    "00:15:30",
    "10:00+0100",
    "9:00 to 17:00",
    "\u20ac1.234.567,89",
    "$1,234.56",
    "1 234 567,89 euros",
    "$2,000,000,000",
    "550e8400-e29b-41d4-a716-446655440000",
    "4111e840-1111-4111-8111-411111111111",
    "41111111-1111-1111-1111-111111111111",
    "a4111111111111111bcdef0123456789",
    "span 00f067aa0ba902b7",
    "id 1763856000123-0",
    "1763856000.123456",
    "took 0.4111111111111111 s",
    "52.0907374, 5.1214201",
    "192.168.100.200:8080",
    "http://127.0.0.1:6379/0",
    "redis://localhost:6379/0?next=me@home",
    "package lodash@4.17.21",
    "@decorator, I'm @home, a@b",
    "version 1.2.3.4",
    "ISBN 978-3-16-148410-0",
    "4111 1111 1111 1112",
    "1234 5678 9012 3456",
    "NL91 RABO 3120 1643 18",
    "NL123456789B01",
    "3511 AB Utrecht",
    "0800",
    "2 x 4 = 8, +5 points",
    "risk-assessment-of-tasks, disk-usage-high, sk-SK",
    "Eyjafjallajokull-volcano",
    "the bearer certificate",
    "Reset my password: the link lasts 60 minutes",
    "visa_card and sa_short",
    'File "/app/lib/graph/runs/run.py", line 147, in _run',
    "error 429 after 3 attempts",
    "na\u00efve caf\u00e9 \u2013 cafe\u0301\u200b \U0001f469\u200d\U0001f4bb \u0661\u0662",
    "[email] [card] [iban] [phone] [key] [dropped]",
]

FRAGMENTS = [
    *(
        "a@mail.example",
        "@",
        '"',
        "\\",
        "\\n",
        "%40",
        "%2B",
        "%20",
        "://",
        "u:",
        "p@",
        "password=",
        "'",
        "/",
        "?",
        "&",
        "=",
    ),
    *(
        ".",
        ",",
        ":",
        "[",
        "]",
        "(",
        ")",
        "+",
        "00",
        "0",
        "06 12345678",
        "+31",
        "4111111111111111",
        "4111 1111",
        "-",
        " ",
    ),
    *(
        "\n",
        "\u200b",
        "\u0301",
        "NL91",
        "NL91 ABNA 0417 1643 00",
        "sk-",
        "sk-abcdefgh",
        "eyJ",
        JWT,
        "bearer ",
        OURS,
        KEPT,
    ),
    *(
        "1",
        "2",
        "9",
        "12",
        "2024-01-02",
        "555-123-4567",
        "\u00e9",
        "xn--",
        ".example",
        "\uff14",
        "\u0661",
        "[email]",
        "[key]",
    ),
]
KEY_WORDS = re.compile(
    "s[ka][-_]|gh[opsur]_|github_pat_|xox|xapp|lsv2|hooks|secret|bearer|password|://|akia|asia|eyj|aiza|glpat|hf_|npm_|api|begin"
)


@pytest.mark.parametrize(("text", "masked"), MASKED.items())
def test_what_is_private_is_masked_and_nothing_else(redactor: Redactor, text: str, masked: str) -> None:
    """Only matches are masked, the other bytes are unchanged, and masking is idempotent."""
    assert redactor.text(text) == masked
    assert redactor.text(masked) == masked


@pytest.mark.parametrize("text", READABLE)
def test_what_an_operator_needs_stays_readable(redactor: Redactor, text: str) -> None:
    """Company addresses, orders, dates, prices, ids and words similar to keys stay unchanged."""
    assert redactor.text(text) == text


@st.composite
def cards(draw: st.DrawFn) -> str:
    length = draw(st.integers(13, 19))
    prefix = draw(st.sampled_from(["4", "51", "2221", "34", "36", "6011", "62", "9792"]))
    digits = prefix + draw(st.text("0123456789", min_size=length - 1 - len(prefix), max_size=length - 1 - len(prefix)))
    digits += luhn.calc_check_digit(digits)
    size = draw(st.sampled_from([1, 2, 4, 6, 19]))
    return draw(st.sampled_from([" ", "-", "\u00a0"])).join(re.findall(f".{{1,{size}}}", digits))


@st.composite
def ibans(draw: st.DrawFn) -> str:
    country, account = draw(
        st.sampled_from([("NL", r"[A-Z]{4}[0-9]{10}"), ("DE", r"[0-9]{18}"), ("GB", r"[A-Z]{4}[0-9]{14}")])
    )
    bban = draw(st.from_regex(account, fullmatch=True))
    number = country + iban.calc_check_digits(f"{country}00{bban}") + bban
    return draw(st.sampled_from([number, number.lower(), iban.format(number)]))


@settings(deadline=None, max_examples=300)
@given(before=st.text(), private=cards() | ibans() | st.emails(), after=st.text())
def test_no_valid_card_iban_or_address_survives(before: str, private: str, after: str) -> None:
    """Private data is masked in any surroundings, if it is a word of its own."""
    assert private not in Redactor().text(f"{before} {private} {after}")


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.characters(), max_size=30).map("".join))
def test_masking_twice_is_masking_once(text: str) -> None:
    """Neither a mask nor the text beside it is masked again."""
    redactor = Redactor([KEPT])
    once = redactor.text(text)
    assert redactor.text(once) == once


@given(st.text(st.characters(exclude_categories=["Nd", "Nl", "No"], exclude_characters="@\uff20\ufe6b")))
def test_a_text_without_digits_at_signs_and_keys_is_left_alone(text: str) -> None:
    """Prose of any script is unchanged."""
    assume(not KEY_WORDS.search(text.lower()))
    assert Redactor().text(text) == text
