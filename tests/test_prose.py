"""The documents: what the linter of prose finds, and where their links lead."""

import re
import subprocess
from pathlib import Path

from conftest import REPOSITORY
from harness.programs import node, program

PLAIN = "The service retries a request twice. It refuses a third, because the circuit breaker is open by then."
LONG = "A sentence that names one thing after the other, " + ", ".join(["and another thing"] * 8) + ", is too long."
PLANTED = {
    LONG: "exceeds the maximum sentence length",
    "The cache keeps the the answer.": "is repeated",
    "There is a key for each tenant.": "unnecessary verbiage",
    "The index is built in the nick of time.": "is a cliche",
    "This is how an answer is come by.": "come by =>",
    "A model that is down is left\nalone.": "alone =>",
    "The baseline is made anew.": "anew =>",
    "Both are answered alike.": "answered alike =>",
    "Whoever asks on another replica waits.": "Whoever =>",
    "The name of it is a hash.": "of it =>",
    "Nothing is sent, but for a probe.": "but for =>",
    "It is the very same image.": "the very =>",
    "A file that is no article is refused.": "that is no  =>",
    "Set the URL in order to connect.": "in order to =>",
    "A powerful service of ten endpoints.": "powerful =>",
}


def test_it_finds_each_planted_sentence_and_no_plain_one(tmp_path: Path) -> None:
    """Long sentences, repeated words, wordy phrases and each kind of turn on our list, across line breaks too."""
    program("npm")
    node((20, 18))
    bad = tmp_path / "bad.md"
    bad.write_text("\n\n".join([PLAIN, *PLANTED]))
    good = tmp_path / "good.md"
    good.write_text(f"# A title\n\n{PLAIN}\n\n```\nWhoever asks of it\n```\n")
    found = prose(bad, good)
    assert found.returncode == 1, (found.stdout, found.stderr)
    assert "good.md" not in found.stdout
    reports = re.split(r"^.*bad\.md:\d+:\d+: ", found.stdout, flags=re.MULTILINE)[1:]
    assert [message for message in PLANTED.values() if not any(message in report for report in reports)] == []
    assert len(reports) == len(PLANTED), reports
    assert prose(good).returncode == 0


def anchors(text: str) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_files_and_headings_that_exist() -> None:
    """From any document to any other file of the repository."""
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    broken: list[str] = []
    for page in [*(REPOSITORY / name for name in names), *(REPOSITORY / "docs").rglob("*.md")]:
        links = re.findall(
            r"\]\((?!https?:|mailto:)([^)\s]+)\)|^\[[^\]]+\]: (?!https?:)(\S+)", page.read_text(), re.MULTILINE
        )
        for link in (inline or reference for inline, reference in links):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                broken.append(f"{page.relative_to(REPOSITORY)}: {link}")
    assert broken == []


def prose(*files: Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / ".github/scripts/prose.sh"
    return subprocess.run([script, *files], capture_output=True, text=True, timeout=300, check=False)
