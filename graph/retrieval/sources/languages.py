"""Which language an article is in, as folders, files' names and front matter say it."""

import re
from collections.abc import Collection, Mapping, Sequence

from graph.retrieval.sources.front_matter import text_field

LANGUAGES = frozenset({
    "af", "am", "ar", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fa",
    "fi", "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja", "ka", "kk", "km", "kn", "ko",
    "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my", "nb", "ne", "nl", "nn", "no", "pa", "pl", "ps", "pt", "ro",
    "ru", "si", "sk", "sl", "sq", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "zh",
})  # fmt: skip
"""The languages, by ISO 639-1, that folders and files are named by."""
_ALSO_WORDS = frozenset({
    "am", "be", "cs", "et", "he", "hi", "hr", "id", "is", "it", "km", "ml", "mr", "ms", "my", "no", "nb", "ne", "pa",
    "ps", "si", "sl", "ta", "te", "tl", "uk", "sw", "ga",
})  # fmt: skip
"""Those that a folder is named by for other reasons, such as `it`, `hr` or `uk`."""
_PARENTS = frozenset({
    "i18n", "l10n", "locale", "locales", "lang", "langs", "language", "languages", "translations", "translated",
    "_i18n",
})  # fmt: skip
_CODE = re.compile(r"([a-z]{2})(?:[-_]([a-z]{2,4}|[0-9]{3}))?", re.IGNORECASE)
_FIELDS = ("lang", "language", "locale", "idioma", "langue", "sprache", "og:locale", "inLanguage")


def language_of_code(code: str) -> str | None:
    """Return the ISO 639-1 code of `de`, `pt-BR`, `zh_Hans` and the like; None if it is none that is known."""
    match = _CODE.fullmatch(code.strip())
    return match[1].lower() if match and match[1].lower() in LANGUAGES else None


def language_of_fields(fields: Mapping[str, object]) -> str | None:
    """Return the language that front matter or a page's head names."""
    return language_of_code(text_field(fields, *_FIELDS) or "")


def language_of_name(stem: str) -> tuple[str, str | None]:
    """Return a file's name without the language at its end (`setup.de`), and the language."""
    name, dot, code = stem.rpartition(".")
    language = language_of_code(code) if dot else None
    return (name, language) if language else (stem, None)


def language_folder(folders: Sequence[str], siblings: Mapping[tuple[str, ...], Collection[str]]) -> int | None:
    """Return which of a file's folders is that of its language, if one is.

    `siblings` are the names of the folders in each folder. A name that is also a word, such as `it`, counts below
    `i18n` and the like, with a region (`it-IT`), or beside another language's folder.
    """
    for position, name in enumerate(folders):
        code = language_of_code(name)
        if code is None:
            continue
        beside = siblings.get(tuple(folders[:position]), ())
        others = [each for each in beside if language_of_code(each) not in (None, code)]
        is_below = position > 0 and folders[position - 1].lower() in _PARENTS
        if code not in _ALSO_WORDS or len(name) > 2 or is_below or others:
            return position
    return None
