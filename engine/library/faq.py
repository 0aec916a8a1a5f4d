"""Questions and their answers in running text, recognised by how people write them down.

    Q: How long may I keep it?              **How long may I keep it?**
    Also asked: return period; too late?    1. How long may I keep it?
    A: For 30 days.                         <summary>How long may I keep it?</summary>

and the same with the words of other languages. Aliases, further ways to ask, stand between question and
answer, after "Also asked:" or "Aliases:", or in a comment `<!-- aliases: …; … -->`, with semicolons between.
Question headings are cut by `engine.library.documents`; this module tells which are questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

_LINE_FLAGS = re.MULTILINE | re.IGNORECASE
_BOLD = r"(?:\*\*|__)?"
# List marks and quotation marks that may stand before a line.
_LEAD = r"[ \t]*(?:[-*+>][ \t]+)?"
_Q = (
    r"(?:(?:q|f|p|question|frage|pregunta|问题|问|問題|問|質問)[ \t]*\d*[ \t]*[:：]"
    r"|q[ \t]*\d*[.．、)]|q\d*\u3000)"
)
_A = (
    r"(?:(?:a|r|answer|antwort|respuesta|réponse|reponse|答案|答え|答|回答)[ \t]*\d*[ \t]*[:：]"
    r"|a[ \t]*\d*[.．、)]|a\d*\u3000)"
)
_ALSO = (
    r"(?:also asked|alias(?:es)?|other ways to ask|auch gefragt|también se pregunta|aussi demandé"
    r"|autres formulations|别名|其他问法|相似问题|別名|別の聞き方|類似の質問)"
)
_Q_MARK = rf"{_LEAD}{_BOLD}{_Q}{_BOLD}[ \t]*"
# Word by word, so that long stretches of blanks are gone through once.
_WORDS = r"\S+(?:[ \t]+\S+)*?"
_ALIASES = re.compile(
    rf"\s*(?:<!--\s*{_ALSO}\s*[:：](?P<comment>.*?)-->"
    rf"|^{_LEAD}[*_]*{_ALSO}[*_ \t]*[:：][*_ \t]*(?P<line>[^\n]*))",
    _LINE_FLAGS | re.DOTALL,
)
_ANSWER_MARK = re.compile(rf"\s*{_LEAD}{_BOLD}{_A}{_BOLD}[ \t]*", _LINE_FLAGS)
_LEADING_MARK = re.compile(rf"\A(?:{_Q}|\d+[.)])[ \t]*", _LINE_FLAGS)

_BY_WORDS = re.compile(
    r"how (?:do|does|did|can|to|long|much|many|often|far|big|is|are|should|will|would|may|must)\b"
    r"|(?:what|when|where|why|who|whose|whom|which)(?:'s|’s)? (?:is|are|was|do|does|did|can|if|should|will"
    r"|would|may|must|happens|kind|sort|of|an?|the|i|we|you|it)\b"
    r"|(?:can|could|do|does|is|are|will|would|may|should|must|have) (?:i|we|you|my|your|there|it|the)\b"
    r"|(?:wie|was|wann|wo|warum|wer|wen|wem|welche[rsnm]?|wieso|weshalb|woher|wohin|womit|wozu) "
    r"|(?:kann|darf|muss|soll|ist|gibt|bekomme) (?:ich|man|es|mein|wir)\b"
    r"|(?:cómo|qué|cuándo|dónde|por qué|quién|cuáles|cuál|cuánto|cuántos|cuántas|cuánta|puedo)\b"
    r"|(?:comment|pourquoi|quand|où|combien|quels?|quelles?|est-ce qu|qu'est-ce|puis-je)\b"
    r"|如何|怎么|怎麼|怎样|怎樣|什么|什麼|为什么|為什麼|是否|能否|哪|谁|誰|多少|どう|どこ|なぜ|いつ|何",
    re.IGNORECASE,
)
_BY_ENDING = re.compile(r"(?:[?？؟]|(?:吗|嗎|呢|か)[。.]?)$")
_LONGEST_QUESTION = 300  # characters


@dataclass(frozen=True, slots=True)
class Entry:
    """A stretch of a section; without `question` it answers what the section's heading says."""

    start: int
    end: int
    question: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Form:
    """A way to write a question; `opening` ends where aliases and answer begin."""

    opening: re.Pattern[str]
    closing: re.Pattern[str] | None = None
    """What ends the answer, beside the next question."""
    is_marked: bool = False
    """An answer's mark belongs to the form."""
    is_certain: bool = False
    """It needs no question mark or word to be one."""


_FORMS = (
    # The question may run over some lines, up to its answer's mark or its aliases.
    _Form(
        re.compile(
            rf"^{_Q_MARK}(?P<question>{_WORDS}(?:\n(?!{_Q_MARK})[ \t]*{_WORDS}){{0,3}}?)"
            rf"(?=[ \t]*(?:\n\s*|(?<=[?？])){_LEAD}{_BOLD}{_A}"
            rf"|\s*\n{_LEAD}(?:<!--\s*|[*_]*){_ALSO}[*_]*\s*[:：])",
            _LINE_FLAGS,
        ),
        is_marked=True,
        is_certain=True,
    ),
    _Form(re.compile(rf"^{_Q_MARK}(?P<question>\S[^\n]*)$", _LINE_FLAGS), is_marked=True),
    _Form(
        re.compile(
            r"(?:<details[^>\n]{0,99}>\s*)?<summary[^>\n]{0,99}>(?P<question>.{0,600}?)</summary>",
            re.IGNORECASE | re.DOTALL,
        ),
        re.compile(r"</details>", re.IGNORECASE),
    ),
    _Form(re.compile(r"^[ \t]*(?:\d+[.)][ \t]+)?(\*\*|__)(?P<question>[^\n]+?)\1[ \t]*$", re.MULTILINE)),
    _Form(
        re.compile(r"^[ ]{0,3}\d+[.)][ \t]+(?P<question>\S[^\n]*[?？])[ \t]*$", re.MULTILINE),
        re.compile(r"^[ ]{0,3}\d+[.)][ \t]", re.MULTILINE),
    ),
    # A definition list in markdown, and as it comes out of HTML.
    _Form(re.compile(r"^(?P<question>[^\n]+)\n(?:[ \t]*\n)?:[ \t]+", re.MULTILINE)),
    _Form(
        re.compile(r"^[-*+] (?P<question>[^\n]+[?？])\n(?:[-*+] (?![^\n]*[?？]$))", re.MULTILINE),
        re.compile(r"^[-*+] ", re.MULTILINE),
    ),
    # A question that is a paragraph of its own.
    _Form(re.compile(r"(?:\A|(?<=\n\n))(?P<question>[\w¿“„«][^\n]*[?？])[ \t]*$", re.MULTILINE)),
)


def is_question(text: str) -> bool:
    """Whether a heading or line asks something: by its ending, or by its first words."""
    return bool(text.startswith("¿") or _BY_ENDING.search(text) or _BY_WORDS.match(text))


def bare_question(text: str) -> str:
    """A question without markup, number or mark before it, on one line."""
    text = " ".join(re.sub(r"<[^<>]{1,99}>|[*_`]{2,}", " ", text).split())
    return _LEADING_MARK.sub("", text).strip(" *_`") or text


def entries(text: str, start: int, end: int, *, after_question: bool = False) -> Iterator[Entry]:
    """Cut a section into its questions' answers and what stands between them, in order.

    Parameters
      text: the document's, its code blocks blanked out
      start, end: the section's body, without its heading
      after_question: the heading is a question, whose answer may be marked as one
    """
    openings = _openings(text, start, end)
    first = openings[0][1].start() if openings else end
    body, aliases = _body(text, start, first, is_marked=after_question)
    yield Entry(body, first, "", aliases)
    for (form, match), following in zip_longest(openings, openings[1:]):
        limit = following[1].start() if following else end
        body, aliases = _body(text, match.end(), limit, is_marked=form.is_marked)
        closing = form.closing.search(text, body, limit) if form.closing else None
        yield Entry(body, closing.start() if closing else limit, bare_question(match["question"]), aliases)
        if closing:
            yield Entry(closing.end() if closing[0].startswith("<") else closing.start(), limit)


def _openings(text: str, start: int, end: int) -> list[tuple[_Form, re.Match[str]]]:
    """Where questions begin that have an answer."""
    found = sorted(
        ((form, match) for form in _FORMS for match in form.opening.finditer(text, start, end)),
        key=lambda opening: opening[1].start(),  # stable: of two at one place the earlier form is taken
    )
    apart: list[tuple[_Form, re.Match[str]]] = []
    for form, match in found:
        if _is_asked(form, match) and (not apart or match.start() >= apart[-1][1].end()):
            apart.append((form, match))
    borders = [match.start() for _, match in apart[1:]] + [end]
    return [o for o, border in zip(apart, borders, strict=False) if _has_answer(text, o, border)]


def _is_asked(form: _Form, match: re.Match[str]) -> bool:
    if len(match["question"]) > _LONGEST_QUESTION:
        return False
    question = bare_question(match["question"])
    return (
        any(map(str.isalpha, question))
        and (form.is_certain or is_question(question))
        and not _ALIASES.match(match.string, match.start())
    )


def _has_answer(text: str, opening: tuple[_Form, re.Match[str]], border: int) -> bool:
    form, match = opening
    body, _ = _body(text, match.end(), border, is_marked=form.is_marked)
    closing = form.closing.search(text, body, border) if form.closing else None
    return any(map(str.isalnum, text[body : closing.start() if closing else border]))


def _body(text: str, start: int, end: int, *, is_marked: bool) -> tuple[int, tuple[str, ...]]:
    """Where the answer begins, behind aliases and the answer's mark, and the aliases."""
    aliases: list[str] = []
    while match := _ALIASES.match(text, start, end):
        listed = match["comment"] if match["comment"] is not None else match["line"]
        aliases += [alias.strip(" \t\n*_") for alias in re.split("[;；]", listed)]
        start = match.end()
    if is_marked and (mark := _ANSWER_MARK.match(text, start, end)):
        start = mark.end()
    return start, tuple(filter(None, aliases))
