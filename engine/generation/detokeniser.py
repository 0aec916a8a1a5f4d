"""Token ids to text, one at a time: never half a character, never the beginning of a stop string.

Knows tokenizers only by what they decode to, so that byte-level BPE, SentencePiece and WordPiece all work.
"""

from __future__ import annotations

import re
from typing import Any

from engine.generation import TokenScore
from engine.types import TokenLogprob

_UNFINISHED = "\ufffd"  # what half a character decodes to
# Tokens after which the window moves on. Larger decodes more a token, smaller moves more often.
_WINDOW = 16
# Tokens after which what is still no whole character is taken for bytes that never will be one.
_HOPELESS = 64
# SentencePiece's spelling of a byte that is no character by itself.
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Detokeniser:
    """`feed` token ids, get the text that is certain; `close` for what was held back.

    A byte-level token may end within a character, and some decoders join tokens differently with and without
    their left neighbour. So a token is decoded with its neighbours, as text-generation-inference and vLLM do:
    a window that begins between two characters, of which it is known how much was shown. They decode twice a
    token, once without it; here the window stays where it is for some tokens, so that is known already.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:
        self._tokenizer = tokenizer
        # Without the wrapper's cleaning of spaces, which would change what has been shown.
        self._decoder = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._window: list[int] = []
        self._borders = (0, 0)  # tokens of the window at the last two places between characters
        self._shown = 0  # characters of the window's text
        self._stops = [_Stop(text) for text in dict.fromkeys(stop) if text]
        self._held = ""
        self.is_stopped = False

    def feed(self, token_id: int) -> str:
        """Take a token; return the text that can be shown because of it, possibly none."""
        if self.is_stopped:
            return ""
        self._window.append(token_id)
        text = self._decode(self._window)
        is_hopeless = len(self._window) >= _HOPELESS
        whole = text if is_hopeless else text.rstrip(_UNFINISHED)
        grown = whole[self._shown :]
        self._shown = max(self._shown, len(whole))
        if is_hopeless:  # also of tokens that show nothing, as a repeated end token
            self._borders = (self._borders[1], len(self._window))
            self._move(len(self._window))
        elif grown and len(whole) == len(text):
            self._borders = (self._borders[1], len(self._window))
            if len(self._window) >= _WINDOW:
                self._move(self._borders[0])
        return self._without_stop(grown) if self._stops else grown

    def close(self) -> str:
        """The rest: text held back as a possible stop string. Half a character is dropped."""
        rest, self._held = ("" if self.is_stopped else self._held), ""
        return rest

    def describe(self, token_id: int, score: TokenScore) -> TokenLogprob:
        """A token's score with the texts of all tokens in it."""
        best = (self._logprob(other, logprob) for other, logprob in score.top)
        return self._logprob(token_id, score.logprob, tuple(best))

    def _move(self, start: int) -> None:
        self._window = self._window[start:]
        self._borders = (0, len(self._window))
        self._shown = len(self._decode(self._window))

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self._decoder.decode(token_ids, skip_special_tokens=True)
        return text

    def _logprob(self, token_id: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        raw = token_bytes(self._decoder, token_id)
        text = raw.decode("utf-8", "replace") if raw else self._decoder.id_to_token(token_id) or ""
        return TokenLogprob(text, logprob, raw, top)

    def _without_stop(self, text: str) -> str:
        text, begin = self._held + text, len(self._held)
        for end in range(begin + 1, len(text) + 1):
            if found := [len(stop.text) for stop in self._stops if stop.is_ended_by(text[end - 1])]:
                self.is_stopped, self._held = True, ""
                return text[: end - max(found)]
        certain = len(text) - max(stop.matched for stop in self._stops)
        self._held = text[certain:]
        return text[:certain]


class _Stop:
    """A stop string and how much of its beginning the text so far ends with.

    The matching automaton of Knuth, Morris and Pratt 1977: it looks at every character once, and what it has
    matched is by construction the longest beginning, so exactly what must be held back.
    """

    def __init__(self, text: str) -> None:
        self.text, self.matched = text, 0
        self._shorter = [0] * len(
            text
        )  # after n + 1 characters: the next shorter beginning that they end with
        length = 0
        for position in range(1, len(text)):
            length = self._longest(length, text[position])
            self._shorter[position] = length

    def is_ended_by(self, character: str) -> bool:
        """Take the text's next character; whether it completes the stop string."""
        self.matched = self._longest(self.matched, character)
        return self.matched == len(self.text)

    def _longest(self, length: int, character: str) -> int:
        while length and self.text[length] != character:
            length = self._shorter[length - 1]
        return length + (self.text[length] == character)


def token_bytes(decoder: Any, token_id: int) -> bytes:
    """The UTF-8 bytes that a token stands for, perhaps part of a character; none for a special token."""
    text: str = decoder.decode([token_id], skip_special_tokens=True)
    piece = decoder.id_to_token(token_id)
    if not text or piece is None:
        # A space by itself can decode to nothing.
        return b" " if piece == "\u2581" else b""
    if byte := _BYTE.fullmatch(piece):
        return bytes([int(byte[1], 16)])
    # Whether the piece is spelt in byte-level characters shows in what it decodes to.
    if all(character in _BYTE_LEVEL for character in piece):
        raw = bytes(_BYTE_LEVEL[character] for character in piece)
        if raw.decode("utf-8", "replace") == text:
            return raw
    # SentencePiece's word border, which decoding a token by itself takes away.
    return (" " * (len(piece) - len(piece.lstrip("\u2581"))) + text.lstrip(" ")).encode()


def _byte_level() -> dict[str, int]:
    """GPT-2's spelling of bytes as printable characters (Radford et al. 2019, `bytes_to_unicode`)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    spelt = {chr(byte): byte for byte in printable}
    return spelt | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_LEVEL = _byte_level()
