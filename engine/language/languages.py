"""Which language a text is in. The script decides where it can, else words that give it away, else n-grams.

What a customer quotes, links to or pastes is not how the customer speaks: it is left out where enough is
left without it. Needs no torch; the n-gram model (py3langid's, numpy arrays) is loaded when first needed.
"""

from __future__ import annotations

import io
import lzma
import re
import shutil
from array import array
from functools import cache
from threading import Lock
from typing import Any

NAMES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""The languages that are told apart, by ISO 639-1 code, in English."""

# In characters. A message is longer than this when something was pasted into it.
_LONG = 600
_PARAGRAPH = 300
# The share of belief that a guess needs, and what it needs to change the language of a conversation.
_SURE, _SURE_TO_CHANGE = 0.65, 0.8
# A text of fewer words says too little to change the language of a conversation.
_FEW_WORDS = 3
# A sign of Chinese, Japanese or Korean says about as much as this many letters.
_SIGN = 3
# Chinese knows the odd の as decoration.
_LEAST_KANA = 0.1

_NOT_SPEECH = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`"  # code
    r"|(?:https?://|www\.)\S+|[\w.+-]{1,64}@[\w.-]{1,255}"  # links, addresses
    r"|<[^<>\s]{1,64}>|(?<!\w)[@#][\w-]+"  # placeholders, tags, mentions, channels
    r"|(?m:^[ \t]*>[^\n]*)"  # lines quoted in a chat
    r"|(?<![A-Za-z0-9])(?=[A-Za-z.,:/-]*\d)[A-Za-z0-9.,:/-]+|\b[A-Z]{2,}\b",  # numbers, models, acronyms
    re.DOTALL,
)
_QUOTED = re.compile(
    r"\"[^\"\n]{2,}\"|“[^”\n]{2,}”|„[^“”\n]{2,}[“”]|«[^»\n]{2,}»|‹[^›\n]{2,}›|「[^」\n]{2,}」|『[^』\n]{2,}』"
    r"|(?<!\w)['‘][^'’\n]{2,}['’](?!\w)"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_LATIN = re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]")
_KANA = re.compile(r"[\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
# Scripts whose letters leave one language, or few.
_SCRIPTS = {
    re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]"): ("el",),
    re.compile(r"[\u0400-\u052f]"): ("ru", "uk", "bg"),
    re.compile(r"[\u0590-\u05ff]"): ("he",),
    re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc]"): ("ar", "fa"),
    re.compile(r"[\u0900-\u097f]"): ("hi",),
    re.compile(r"[\u0e00-\u0e7f]"): ("th",),
}
_IN_LATIN = frozenset(
    [
        "cs",
        "da",
        "de",
        "en",
        "es",
        "fi",
        "fr",
        "hu",
        "id",
        "it",
        "nl",
        "no",
        "pl",
        "pt",
        "ro",
        "sv",
        "tr",
        "vi",
    ]
)
# Words of one of these languages alone, for texts too short for n-grams.
_TELLING = {
    word: language
    for language, words in {
        "en": "hello hey thanks thank yes please bye goodbye what where when why how who which the my your "
        "order refund return shipping delivery payment invoice not help card discount account",
        "de": "hallo guten danke dankeschön bitte nein tschüss wo wann warum ist mein meine ich nicht "
        "bestellung rückgabe versand lieferung rechnung hilfe umtausch erstattung gutschein konto",
        "fr": "bonjour bonsoir salut merci oui où quand pourquoi comment ma mes je commande remboursement "
        "livraison paiement facture aide échange colis",
        "es": "hola buenos buenas gracias sí adiós dónde cuándo cómo cuánto qué mi devolución envío factura "
        "ayuda cambio tarjeta",
        "it": "ciao buongiorno buonasera grazie arrivederci dove perché ordine rimborso spedizione",
        "pt": "olá obrigado obrigada onde não sim entrega devolução",
        "nl": "bedankt alstublieft waar wanneer waarom bestelling terugbetaling",
        "sv": "tack beställning",
        "da": "hvornår",
        "no": "takk hei",
        "pl": "cześć dziękuję gdzie kiedy zamówienie",
    }.items()
    for word in words.split()
}
_loading = Lock()


def detect(text: str, previous: str = "") -> str:
    """The language that `text` is written in, ISO 639-1; `previous` where the text does not tell.

    Parameters
      previous: in which its author wrote before; it is kept on very short texts

    Takes about a millisecond at most, but half a second the first time. Returns "" when nobody knows.
    """
    whole = _certain(text[:_LONG], previous)
    if len(text) > _LONG:
        # Around something pasted, the customer speaks in the first or in the last paragraph.
        around = (text[:_PARAGRAPH].lstrip().split("\n")[0], text[-_PARAGRAPH:].rstrip().split("\n")[-1])
        spoken = [_certain(part, previous) for part in around]
        return next((code for code in spoken if code not in ("", whole)), whole or previous)
    return whole or previous


def preload() -> None:
    """Load the n-gram model now, so that nobody's question waits for it."""
    _identifier()


def _certain(text: str, previous: str) -> str:
    """The language of a text without what is no speech, or ""."""
    text = _NOT_SPEECH.sub(" ", text)
    unquoted = _QUOTED.sub(" ", text)
    if len(_WORD.findall(unquoted)) >= _FEW_WORDS or _SIGN * _signs(unquoted) >= _SIGN * _FEW_WORDS:
        text = unquoted
    letters = len(_LATIN.findall(text))
    by_script = {languages: len(script.findall(text)) for script, languages in _SCRIPTS.items()}
    languages = max(by_script, key=lambda found: by_script[found])
    signs = _SIGN * _signs(text)
    if signs and signs >= max(letters, by_script[languages]):
        return _east_asian(text, previous)
    if by_script[languages] > letters:
        return languages[0] if len(languages) == 1 else _guess(text, frozenset(languages), previous)
    return _in_latin(text, previous) if letters else ""


def _signs(text: str) -> int:
    return len(_HAN.findall(text)) + len(_KANA.findall(text)) + len(_HANGUL.findall(text))


def _east_asian(text: str, previous: str) -> str:
    han, kana, hangul = (len(script.findall(text)) for script in (_HAN, _KANA, _HANGUL))
    if hangul > han + kana:
        return "ko"
    if kana > _LEAST_KANA * (han + kana):
        return "ja"
    is_short = han < 2 * _FEW_WORDS
    return "ja" if is_short and previous == "ja" else "zh"


def _in_latin(text: str, previous: str) -> str:
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if len(words) < _FEW_WORDS and previous in _IN_LATIN:
        return previous
    if len(words) <= _FEW_WORDS:
        told = {_TELLING[word] for word in words if word in _TELLING}
        if len(told) == 1:
            return told.pop()
    return _guess(text, _IN_LATIN, previous)


def _guess(text: str, among: frozenset[str], previous: str) -> str:
    """The likeliest of some languages, or "" when the n-grams are not sure enough."""
    ranked = [(code, share) for code, share in _identifier().rank(text) if code in among]
    code, share = ranked[0]
    belief = share / (sum(share for _, share in ranked) or 1)
    needed = _SURE_TO_CHANGE if previous in among and code != previous else _SURE
    return code if belief >= needed else ""


def _identifier() -> Any:
    with _loading:  # two threads would load it twice
        return _load()


@cache
def _load() -> Any:
    """py3langid's identifier with our languages' columns alone: a quarter of its table.

    Its own loader unpacks 50 MB into a temporary file, for which a container may have no room.
    """
    import numpy as np
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    unpacked = io.BytesIO()
    with lzma.open(MODEL_DIR / MODEL_FILE) as packed:
        shutil.copyfileobj(packed, unpacked)
    unpacked.seek(0)
    model = np.load(unpacked, allow_pickle=False)
    classes = model["classes"].tolist()
    columns = [column for column, code in enumerate(classes) if code in NAMES]
    return LanguageIdentifier(
        model["ptc"][:, columns],
        model["pc"][columns],
        [classes[column] for column in columns],
        _integers(model["nextmove"]),
        _integers(model["out_feat"]),
        norm_probs=True,
        tk_row=_integers(model["nextmove_row"]),
    )


def _integers(values: Any) -> array[int]:
    """A numpy vector of integers as Python's own array, whose elements are quicker to read one by one."""
    made: array[int] = array(values.dtype.char)
    made.frombytes(memoryview(values).cast("B"))
    return made
