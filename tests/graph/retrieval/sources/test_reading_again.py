"""A folder that is read again: only what has changed is parsed, and what is found is the same."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.retrieval.sources import Page, folder
from graph.retrieval.sources.folder import Folder
from graph.retrieval.sources.parsers import parse_file
from harness.sourcing import COMPANY, read

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["a.md", "b/c.mdx", "b/index.md", "de/a.md", "_part.md", "b/_part.md", "_more.md"]),
        st.sampled_from([
            None,
            "One.",
            "---\ntitle: Two\nslug: /two\n---\n\n[a](a.md) [c](b/c.mdx)",
            "---\nid: same\n---\n\n[part](../a.md#x) {% include _part.md %}",
            "---\ndraft: true\n---\n\nDraft.",
            "---\n: [\n---\n\nBroken.",
            "<!--@include: ./_part.md-->\n<!--@include: ./_more.md-->",
            "Mit den und die der das ist nicht ein eine für sie.",
        ]),
    ),
    max_size=12,
)  # fmt: skip


@given(st.lists(EDITS, min_size=2, max_size=4))
@settings(max_examples=30, deadline=None)
def test_reading_again_finds_what_reading_anew_does(steps: list[list[tuple[str, str | None]]]) -> None:
    """Whatever changes: articles, what they include, and what links lead to."""
    with TemporaryDirectory() as place:
        root = Path(place)
        again = Folder(root, replace(COMPANY, url="https://help.example.com/{path}"))
        for at, edits in enumerate(steps):
            for name, content in edits:
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).unlink(missing_ok=True)
                if content is not None:
                    (root / name).write_text(content)
                    os.utime(root / name, ns=(at, at))
            anew = Folder(root, replace(COMPANY, url="https://help.example.com/{path}"))
            assert list(again.changes({})) == list(anew.changes({}))


def test_only_what_has_changed_is_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, or those that include it."""
    parsed: list[str] = []

    def noted(suffix: str, content: bytes, find: Callable[[str], str | None]) -> list[Page]:
        parsed.append(content.decode().split()[0])
        return parse_file(suffix, content, find)

    monkeypatch.setattr(folder, "parse_file", noted)
    (tmp_path / "one.md").write_text("One.")
    (tmp_path / "two.md").write_text("Two <!--@include: ./_part.md-->")
    (tmp_path / "_part.md").write_text("Part.")
    source = Folder(tmp_path, COMPANY)
    documents = read(source).documents
    assert documents["two"].text == "Two Part."
    assert sorted(parsed) == ["One.", "Two"]
    parsed.clear()
    assert read(source).documents["one"].text is documents["one"].text
    assert parsed == []
    (tmp_path / "_part.md").write_text("Another part.")
    assert read(source).documents["two"].text == "Two Another part."
    assert parsed == ["Two"]
