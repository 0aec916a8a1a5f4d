"""The filter on a stream: output equal to the whole text's, with no character of a match ever let out.

Text is released up to a safe cut: before the trailing run of characters that could still become part
of a match. The run is a word (an e-mail address may grow) with the digit groups before it (a card or
phone number may), at most `MAX_SPAN` characters, since no match is longer.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.filter.placeholders import Placeholders
from engine.filter.rules import LOOK_BEHIND, MAX_SPAN, SEPARATORS, Finding, find

# The furthest that a rule looks back from the start of a match, and the longest number group.
_CONTEXT = LOOK_BEHIND + 32
# Beside decimal digits, what may stand in a card or phone number.
_NUMBER_CHARACTERS = frozenset(SEPARATORS + "+()")


class FilterStream:
    """Feed pieces in, get back what may be shown. Close it on every way out, errors included."""

    def __init__(self, replace: Callable[[Finding, str], str]) -> None:
        self._replace = replace
        self._context = ""
        self._held = ""

    @property
    def held(self) -> int:
        """Characters held back at the moment."""
        return len(self._held)

    def feed(self, chunk: str) -> str:
        """Take the next piece of text; return what may be shown now, redacted."""
        self._held += chunk
        return self._release(_safe_cut(self._held))

    def close(self) -> str:
        """The rest, redacted: no more text will come."""
        return self._release(len(self._held))

    def _release(self, cut: int) -> str:
        if cut <= 0:
            return ""
        text, offset = self._context + self._held, len(self._context)
        findings = find(text, offset)
        for finding in findings:
            if finding.start < offset + cut < finding.end:
                cut = finding.start - offset
        shown, position = [], offset
        for finding in findings:
            if position <= finding.start and finding.end <= offset + cut:
                shown += [
                    text[position : finding.start],
                    self._replace(finding, text[finding.start : finding.end]),
                ]
                position = finding.end
        shown.append(text[position : offset + cut])
        self._held = text[offset + cut :]
        self._context = text[: offset + cut][-_CONTEXT:]
        return "".join(shown)


def stream(replace: Callable[[Finding, str], str] | None = None) -> FilterStream:
    """A streaming filter; without `replace` it numbers placeholders by itself."""
    return FilterStream(replace or Placeholders())


def _safe_cut(text: str) -> int:
    """Where the trailing run begins that could still become part of a match."""
    start = len(text)
    while start and not text[start - 1].isspace():
        start -= 1
    while start and (text[start - 1].isdecimal() or text[start - 1] in _NUMBER_CHARACTERS):
        start -= 1
    return max(start, len(text) - MAX_SPAN)
