from pathlib import Path

import pytest

from graph.retrieval.sources.written_language import language_of_text
from harness.trees import read, write


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "To change your plan, open the settings and choose the plan that is right for you. It is in the list."),
        ("de", "Öffnen Sie die Einstellungen und wählen Sie den Tarif, der zu Ihnen passt. Das ist die Liste."),
        ("fr", "Ouvrez les paramètres et choisissez la formule qui est faite pour vous. Elle est dans la liste."),
        ("es", "Abra los ajustes de su cuenta y elija el plan que es para usted. Se puede cambiar."),
        ("nl", "Open de instellingen en kies het abonnement dat bij je past. Het is in de lijst."),
        ("ja", "設定を開いて、プランを選んでください。"),
        ("zh", "打开设置选择适合您的套餐"),
        ("ru", "Откройте настройки и выберите тариф."),
        ("uk", "Відкрийте налаштування і виберіть тариф для всіх її людей."),  # noqa: RUF001 - Ukrainian
        ("fa", "تنظیمات را باز کنید و گزینه‌ای را که می‌خواهید پیدا کنید."),
        (None, "OK"),
        (None, "```\nthe and to of you is your for in can\n```"),
    ],
)  # fmt: skip
def test_language_is_told_by_script_and_common_words(language: str | None, text: str) -> None:
    """A few sentences are enough; a word, or code, is not."""
    assert language_of_text(text) == language


@pytest.mark.parametrize(
    ("path", "front_matter", "language"),
    [
        ("de/a.md", "", "de"),
        ("i18n/fr/docs/a.md", "", "fr"),
        ("docs/pt-BR/a.md", "", "pt"),
        ("zh_Hans/a.md", "", "zh"),
        ("a.de.md", "", "de"),
        ("a.pt-br.md", "", "pt"),
        ("a.md", "lang: nl-BE", "nl"),
        ("de/a.md", "language: fr", "fr"),
        ("it/a.md", "", "en"),
        ("hr/a.md", "", "en"),
        ("i18n/it/a.md", "", "it"),
        ("setup.io.md", "", "en"),
    ],
)
def test_language_is_of_the_folder_the_name_or_the_front_matter(
    tmp_path: Path, path: str, front_matter: str, language: str
) -> None:
    """A folder whose name is a word, such as `it` or `hr`, is none of a language unless it stands for one."""
    root = write(tmp_path, {path: f"---\n{front_matter}\n---\nText"})
    assert next(iter(read(root, language="en")[0].values())).language == language


def test_a_word_beside_another_languages_folder_is_a_language(tmp_path: Path) -> None:
    """Beside `de`, `it` is Italian."""
    root = write(tmp_path, {"de/a.md": "Text", "it/a.md": "Text", "other/it/a.md": "Text"})
    documents, _ = read(root)
    assert {name: each.language for name, each in documents.items()} == {"de/a": "de", "it/a": "it", "other/it/a": None}


def test_language_is_of_the_text_where_nothing_names_it(tmp_path: Path) -> None:
    """An article in another language than the help centre's is known by its words."""
    german = (
        "Öffnen Sie die Einstellungen und wählen Sie den Tarif, der zu Ihnen passt. Das ist nicht mit Gebühr verbunden."
    )
    root = write(tmp_path, {"a.md": german})
    assert read(root, language="en")[0]["a"].language == "de"
