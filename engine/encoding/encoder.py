"""Encoding a text: token ids and where each token ends, by the fastest library that gives the same.

Knows tokenizers; knows nothing of windows. The ids are those of `tokenizer.encode(text,
add_special_tokens=False)` without truncation and padding. What looks like a special token becomes that
token, as it does there; a tokenizer whose `encode_special_tokens` is set reads it as plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.encoding import byte_level

# Where every known way to find words begins a new one, whatever surrounds these two characters: at a space
# after anything else, and at an East Asian punctuation mark after a letter or digit.
SEAM_MARKS = " ，。、！？；："
SEAM = re.compile(f"[{SEAM_MARKS}](?:(?<=\\S )|(?<=[0-9A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5][^ ]))")
_PROBE = (
    "It's we'LL I'd they've DON'T rock'n'roll 'tis\n"
    "  two  three   spaces\ttabs\t\t mixed \t \n\n\n  lines \r\n\r\nend  \u00a0\u2003\u3000wide \u0085 \x1c\n"
    "1 22 333 4444 1,234.56 ½ Ⅷ ٣٤ x2y3 2024-11-30T12:00:00Z 0xff\n"
    "...!?---###**bold**_it_[a](b)`code`{}<>&|/\\ //// ==== ….\n/path\n"
    "naïve café Größe ÅNGSTRÖM cafe\u0301 e\u0301\u0323 ﬁ ſ K İi\n"
    "Привет, мир! Γειά σου Κόσμε; שָׁלוֹם עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก 안녕하세요 세계 각\n"
    "你好，世界。这是一个测试！「引号」カタカナ・ひらがな、漢字とかな。\n"
    "😀 👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 𝒳 𠮷 \u200b\u200d\ufeff\ufffd\u0000\n"
    "<|endoftext|> <|im_start|>user [CLS] <s></s> <unk>\n"
    "aaaaaaaaaaaaaaaaaaaaaaaa abababababab \n \n x" + " " * 40 + "y" + "\n" * 20
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Encoded(NamedTuple):
    """Tokens of a text; `ends` tells how many of its characters are read up to the end of each, rising."""

    ids: list[int]
    ends: NDArray[np.int64]


class Encoder:
    """Encodes as `tokenizer` does. Make one by `encoder_for`, which keeps it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        # A copy: transformers switches truncation of its tokenizers on and off, also in other threads.
        written = tokenizer.to_str()
        self._slow = Tokenizer.from_str(written)
        self._slow.no_truncation()
        self._slow.no_padding()
        self._slow.encode_special_tokens = tokenizer.encode_special_tokens
        config = json.loads(written)
        self._fast = byte_level.translate(config)
        if self._fast and not self._is_same(self._fast):
            self._fast = None
        self.backend: Literal["tiktoken", "tokenizers"] = "tiktoken" if self._fast else "tokenizers"
        self.has_seams = _has_seams(config)
        """Whether a text cut at a `SEAM` has the same tokens as the whole."""

    def ids(self, text: str) -> list[int]:
        """The token ids of the text; a lone surrogate, which no tokenizer takes, counts as U+FFFD."""
        text = _valid(text)
        if self._fast and self._fast.reads(text):
            return self._fast.ids(text)
        ids: list[int] = self._slow.encode(text, add_special_tokens=False).ids
        return ids

    def encode(self, text: str) -> Encoded:
        """Token ids and where each ends."""
        text = _valid(text)
        if self._fast and self._fast.reads(text):
            ids = self._fast.ids(text)
            return Encoded(ids, self._fast.ends(ids))
        found = self._slow.encode(text, add_special_tokens=False)
        ends = np.fromiter((end for _, end in found.offsets), dtype=np.int64, count=len(found.ids))
        return Encoded(found.ids, np.maximum.accumulate(ends))

    def _is_same(self, fast: byte_level.ByteLevel) -> bool:
        """Whether both give the same ids for the probe and the vocabulary itself."""
        return all(
            fast.ids(text) == self._slow.encode(text, add_special_tokens=False).ids
            for text in (_PROBE, *fast.samples())
            if fast.reads(text)
        )


_encoders: WeakKeyDictionary[Tokenizer, tuple[tuple[int, bool], Encoder]] = WeakKeyDictionary()


def encoder_for(tokenizer: Any) -> Encoder:
    """The encoder of a `tokenizers.Tokenizer` or a fast tokenizer of transformers, made once.

    The first call takes a second for a large vocabulary. Tokens that are added later are noticed; other
    changes to a tokenizer in use are not.
    """
    backend: Tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    state = (backend.get_vocab_size(with_added_tokens=True), bool(backend.encode_special_tokens))
    known = _encoders.get(backend)
    if known is None or known[0] != state:
        known = _encoders[backend] = (state, Encoder(backend))
    return known[1]


def _valid(text: str) -> str:
    """The text as something that UTF-8 can write, each character in its place."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def _has_seams(config: Mapping[str, Any]) -> bool:
    """Whether words are found in a known way, and nothing else reaches across two of them."""
    if any(map(_takes_white_space, config["added_tokens"])):
        return False
    normalizer = config["normalizer"] or {}
    if byte_level.word_pattern(config["pre_tokenizer"]):
        return normalizer.get("type") in (None, "NFC")
    is_bert = (config["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
    return is_bert and normalizer.get("type") in (None, "BertNormalizer", "Lowercase")


def _takes_white_space(added: Mapping[str, Any]) -> bool:
    return added["lstrip"] or added["rstrip"] or re.search(r"\s", added["content"]) is not None
