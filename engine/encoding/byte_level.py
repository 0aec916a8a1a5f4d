"""A byte-level BPE read by tiktoken, which is several times as fast as the tokenizer itself.

Knows tokenizer configurations; knows nothing of windows. tiktoken merges the pair whose token comes first
in the vocabulary, a tokenizer the pair that comes first among its merges. Where both orders agree, every
token has bytes of its own, and no token comes before its parts, both merge alike: bytes that now are two
tokens between borders that no merge has crossed are what they would be alone.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_AFTER_WORDS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# How pre-tokenisers cut a text into words, written alike for both libraries, which also class all code
# points alike. Every one of them begins a new word at a space after anything else.
PATTERNS = frozenset(
    {
        GPT2,
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_AFTER_WORDS}",  # Llama 3
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_AFTER_WORDS}",  # Qwen 2
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"  # Qwen 3.5
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*"  # o200k
        rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{_CONTRACTIONS}?"
        rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+"
        rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{_CONTRACTIONS}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
)

# Tokens of the vocabulary in one sample of text.
_SAMPLE_TOKENS = 4096


class ByteLevel:
    """tiktoken with a tokenizer's own vocabulary."""

    def __init__(self, config: Mapping[str, Any], pattern: str, ranks: dict[bytes, int]) -> None:
        import tiktoken

        self._encoding = tiktoken.Encoding(
            "frontdesk", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
        )
        # How many characters begin in each token: in UTF-8 all bytes of one but the first are 10xxxxxx.
        self._characters = np.zeros(max(ranks.values()) + 1, dtype=np.int64)
        for token, token_id in ranks.items():
            self._characters[token_id] = sum(byte & 0xC0 != 0x80 for byte in token)
        added = [token["content"] for token in config["added_tokens"]]
        self._added = re.compile("|".join(map(re.escape, added))) if added else None
        self._is_composing = config["normalizer"] is not None

    def reads(self, text: str) -> bool:
        """Whether it may read the text: no added token in it, and nothing to normalise."""
        if self._added is not None and self._added.search(text):
            return False
        return not self._is_composing or text.isascii() or unicodedata.is_normalized("NFC", text)

    def ids(self, text: str) -> list[int]:
        """The token ids of a text that it `reads`."""
        return self._encoding.encode_ordinary(text)

    def ends(self, ids: list[int]) -> NDArray[np.int64]:
        """Where in the text each token ends, in characters; a part of a character ends where that ends."""
        # By way of an array, which numpy takes over as it is: half the time of converting the list.
        taken = np.frombuffer(array("I", ids), dtype=np.uint32)
        return np.cumsum(self._characters[taken])

    def samples(self) -> Iterator[str]:
        """Texts made of the vocabulary: its tokens each on a line, and run together."""
        tokens = [token.decode(errors="ignore") for token in self._encoding.token_byte_values()]
        for first in range(0, len(tokens), _SAMPLE_TOKENS):
            for between in ("\n", ""):
                yield between.join(tokens[first : first + _SAMPLE_TOKENS])


def translate(config: Mapping[str, Any]) -> ByteLevel | None:
    """The tokenizer of that configuration (`tokenizers`' JSON) in tiktoken, if its parts allow that."""
    pattern = word_pattern(config["pre_tokenizer"])
    if pattern is None or config["normalizer"] not in (None, {"type": "NFC"}):
        return None
    ranks = _ranks(config["model"])
    try:
        return ByteLevel(config, pattern, ranks) if ranks else None
    except ImportError:
        return None


def word_pattern(pre_tokenizer: Mapping[str, Any] | None) -> str | None:
    """The regular expression by which a byte-level pre-tokeniser finds words, if it is a known one."""
    match pre_tokenizer:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return GPT2
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if pattern in PATTERNS:
            return str(pattern)
    return None


def _ranks(model: Mapping[str, Any]) -> dict[bytes, int]:
    """Bytes and id of every token that merging can make; empty when tiktoken would merge in another order."""
    options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if model["type"] != "BPE" or any(model[option] for option in options):
        return {}
    vocabulary, letters = model["vocab"], _letters()
    if not letters.keys() <= vocabulary.keys():
        return {}
    made, reached = {letter: vocabulary[letter] for letter in letters}, -1
    for left, right in model["merges"]:
        token_id = vocabulary[left + right]
        parts = [made.get(part, token_id) for part in (left, right) if len(part) > 1]
        if token_id < reached or any(part >= token_id for part in parts):
            return {}
        made[left + right] = reached = token_id
    return {bytes(letters[letter] for letter in token): token_id for token, token_id in made.items()}


def _letters() -> dict[str, int]:
    """How byte-level tokenizers write each byte (Radford et al. 2019): as itself where that is visible."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {
        **{chr(byte): byte for byte in visible},
        **{chr(256 + row): byte for row, byte in enumerate(hidden)},
    }
