"""Sliding windows lose nothing and never go over."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from engine.chunker import windows


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE with a few merges: an emoji is several tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 20], trainer)
    return made


TEXTS = st.lists(
    st.sampled_from(
        [*"the quick brown fox 123\n\t.,", "é", "漢", "字", "😀", "👩‍👩‍👧", "e\u0301", "\u200b", "क्ष"]
    ),
    max_size=120,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, size=st.integers(8, 40), overlap=st.integers(0, 7))
def test_windows_minus_overlaps_give_back_the_text(tokenizer, text, size, overlap):
    rebuilt, reached = "", 0
    for window in windows(text, tokenizer, size, overlap):
        assert len(window.token_ids) <= size
        assert window.start <= reached < window.end
        assert tokenizer.decode(list(window.token_ids)) == text[window.start : window.end]
        rebuilt += text[reached : window.end]
        reached = window.end
    assert rebuilt == text


def test_neighbours_share_the_overlap(tokenizer):
    text = "the quick brown fox jumps over the lazy dog " * 30
    slid = list(windows(text, tokenizer, size=32, overlap=16))
    assert len(slid) > 3
    for earlier, later in pairwise(slid):
        shared = tokenizer.encode(text[later.start : earlier.end]).ids
        assert 12 <= len(shared) <= 16


def test_text_that_the_tokenizer_drops_is_still_covered():
    wordy = Tokenizer(models.WordLevel({"hello": 0, "world": 1, "[UNK]": 2}, unk_token="[UNK]"))
    wordy.normalizer = normalizers.Lowercase()
    wordy.pre_tokenizer = pre_tokenizers.Whitespace()
    text = "  Hello   WORLD  hello\n\n"
    slid = list(windows(text, wordy, size=1))
    assert "".join(text[window.start : window.end] for window in slid) == text
    assert [len(window.token_ids) for window in slid] == [1, 1, 1]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 4), (4, -1)])
def test_impossible_sizes_are_refused(tokenizer, size, overlap):
    with pytest.raises(ValueError, match="overlap"):
        list(windows("some text", tokenizer, size, overlap))


def test_a_character_larger_than_the_window_is_refused(tokenizer):
    with pytest.raises(ValueError, match="larger size"):
        list(windows("😀", tokenizer, 2))
