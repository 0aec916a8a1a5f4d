"""Token ids to text, one at a time: never half a character, never the beginning of a stop string."""

from __future__ import annotations

from typing import Any


class Detokeniser:
    """`feed` token ids, get the text that is certain; `close` for what was held back.

    A byte-level token may end within a character, which decodes to U+FFFD; and some decoders join tokens
    differently with and without their left neighbour. So each token is decoded together with the text
    since the last emission, as text-generation-inference and vLLM do.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(filter(None, stop))
        self._ids: list[int] = []
        self._prefix, self._read = 0, 0
        self._held = ""
        self.is_stopped = False

    def feed(self, token_id: int) -> str:
        """Take a token; return the text that can be shown because of it, possibly none."""
        self._ids.append(token_id)
        known = self._decode(self._prefix, self._read)
        grown = self._decode(self._prefix, len(self._ids))
        if len(grown) <= len(known) or grown.endswith("\ufffd"):
            return ""
        self._prefix, self._read = self._read, len(self._ids)
        return self._without_stop(grown[len(known) :])

    def close(self) -> str:
        """The rest: text held back as a possible stop string. Half a character is dropped."""
        rest, self._held = ("" if self.is_stopped else self._held), ""
        return rest

    def _decode(self, start: int, end: int) -> str:
        text: str = self._tokenizer.decode(self._ids[start:end], skip_special_tokens=True)
        return text

    def _without_stop(self, text: str) -> str:
        text = self._held + text
        found = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest beginning of `stop` that `text` ends with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
