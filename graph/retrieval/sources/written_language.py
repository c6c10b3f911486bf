"""Which language a text is in, by its script and its most common words."""

import re
from collections import Counter

READ = (2000, 6000)
"""Characters of a text that are looked at: more if the first ones do not tell."""
MIN_WORDS = 6
"""Common words that a text must have of its language, and at least every eighth."""

_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7a3]")),
    ("zh", re.compile("[\u4e00-\u9fff]")),
    ("fa", re.compile("[پچژگ]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("el", re.compile("[\u0370-\u03ff]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("uk", re.compile("[іїєґІЇЄҐ]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
)  # fmt: skip
_WORDS = {
    "en": "the and to of you is your for in can with this that on if are or it be not from when how",
    "de": "der die das und sie ist nicht ein eine mit auf für zu den im ihre oder wenn werden können von dem wie",
    "fr": "le la les et vous est pour une dans des votre sur avec pas que ou du ce pouvez cette par si sont",
    "es": "el la los de que en para una con su por no las se es del si puede como este más o al",
    "it": "il di che la per una con non è del le sono nel si gli della puoi come questo anche o se",
    "pt": "o de que para uma com você não os em do da seu no por se é como pode na mais ou sua",
    "nl": "de het een en van je is niet voor met op dat te in uw of kunt als zijn naar deze bij hoe",
    "sv": "och att det som en på är för med du av inte till kan din den ett om eller från när hur vi",
    "da": "og at det som en på er for med du af ikke til kan din den et om eller fra når hvordan vi",
    "nb": "og å det som en på er for med du av ikke til kan din den et om eller fra når hvordan vi",
    "fi": "ja on ei se että voit kun tai jos sen ovat myös mutta kuin niin voi sinun olet tämä mitä miten ole",
    "pl": "i w na nie się z do to jest że aby lub dla po jak od możesz przez jeśli twoje są oraz czy",
    "cs": "a v na se je že pro do to nebo si můžete jako jsou pokud od po ve s vaše při není z jak",
    "tr": "ve bir bu için ile da de olarak daha veya çok ne gibi olan var sonra kadar en ise her",
}
_LANGUAGES: dict[str, list[str]] = {}
"""The languages that each common word is of."""
for _language, _common in _WORDS.items():
    for _word in set(_common.split()):
        _LANGUAGES.setdefault(_word, []).append(_language)


def language_of_text(text: str) -> str | None:
    """Return the language of a text, ISO 639-1; None if it is too short or of a language that is not known."""
    first, most = READ
    return _language_of(text[:first]) or (_language_of(text[:most]) if len(text) > first else None)


def _language_of(text: str) -> str | None:
    prose = re.sub(r"^ *(`{3,}|~{3,}).*?^ *\1|`[^`\n]*`|\]\([^()\n]*\)", " ", text, flags=re.MULTILINE | re.DOTALL)
    if not prose.isascii() and (language := _language_of_script(prose)):
        return language
    words = Counter(re.findall(r"[^\W\d_]+", prose.lower()))
    found = Counter(dict.fromkeys(_WORDS, 0))
    for word in words.keys() & _LANGUAGES.keys():
        for language in _LANGUAGES[word]:
            found[language] += words[word]
    (language, count), (_, next_count) = found.most_common(2)
    is_common = count >= max(MIN_WORDS, words.total() / 8)
    return language if is_common and count > 1.2 * next_count else None


def _language_of_script(text: str) -> str | None:
    letters = sum(map(str.isalpha, text))
    if len(re.findall("[\u0370-\uffdc]", text)) <= letters * 0.02:
        return None
    for language, script in _SCRIPTS:
        if len(script.findall(text)) > letters * (0.02 if language in ("ja", "fa", "uk") else 0.3):
            return language
    return None
