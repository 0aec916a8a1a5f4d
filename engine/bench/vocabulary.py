"""A tokenizer for a model without training: every byte a token, the rest words that nobody typed."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from engine.prompt import PLAIN_TEMPLATE

_END = "<|endoftext|>"
_SPACE = "Ġ"  # how byte-level tokenizers write a space


def byte_tokenizer(size: int, context: int) -> Any:
    """A fast tokenizer of exactly `size` tokens; token 0 is the end of text.

    Text becomes one token a byte. What a random model generates is decoded to words of letters, in which
    the filter finds nothing to hold back.
    """
    from transformers import PreTrainedTokenizerFast

    words = [_END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [_SPACE + _letters(number) for number in range(size - len(words))]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=_END,
        bos_token=_END,
        unk_token=_END,  # CTranslate2 insists on one
        model_max_length=context,
    )
    fast.chat_template = PLAIN_TEMPLATE
    return fast


def _letters(number: int) -> str:
    """Four letters that stand for a number, so that no two words are alike."""
    letters = ""
    for _ in range(4):
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return letters
