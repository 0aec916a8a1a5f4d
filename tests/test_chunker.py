"""Sliding windows lose nothing and never go over; fitting keeps whole turns, newest first."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from engine.chunker import fit, windows
from engine.errors import ContextTooLong
from engine.types import ChatTurn


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


def words(turns):
    return sum(len(turn.content.split()) for turn in turns)


def ask(passages, message):
    return ChatTurn("user", " ".join([*passages, message]))


def conversation(count):
    roles = ("user", "assistant")
    return [ChatTurn(roles[i % 2], f"turn {i} has five words") for i in range(count)]


def fitted(**changes):
    defaults = {
        "system": ChatTurn("system", "be kind"),
        "passages": ["first passage", "second passage"],
        "history": conversation(6),
        "message": "where is it",
        "ask": ask,
        "count": words,
    }
    return fit(**{**defaults, **changes})


def test_everything_goes_in_when_it_fits():
    result = fitted(budget=100)
    assert [turn.role for turn in result.turns] == ["system", *("user", "assistant") * 3, "user"]
    assert (result.passages_used, result.turns_used, result.turns_left_out) == (2, 6, 0)
    assert result.tokens == words(result.turns)


def test_the_newest_turns_stay_whole_and_the_history_is_not_touched():
    history = conversation(6)
    before = list(history)
    result = fitted(history=history, budget=2 + 3 + 4 + 12)
    assert result.turns[1:-1] == tuple(before[-2:])
    assert result.turns_left_out == 4
    assert history == before


def test_passages_go_before_old_turns_and_the_worst_is_dropped_first():
    result = fitted(budget=2 + 3 + 2)
    assert result.turns[-1].content == "first passage where is it"
    assert (result.passages_used, result.turns_used) == (1, 0)


def test_an_answer_never_stays_without_its_question():
    result = fitted(budget=2 + 3 + 4 + 5)
    assert result.turns_used == 0


def test_a_message_that_cannot_fit_says_how_long_it_may_be():
    with pytest.raises(ContextTooLong, match="may be at most 8 tokens") as caught:
        fitted(message="word " * 50, budget=10)
    assert caught.value.limit == 8


@settings(max_examples=200, deadline=None)
@given(turns=st.integers(0, 12), budget=st.integers(5, 120))
def test_the_budget_is_never_exceeded(turns, budget):
    history = conversation(turns)
    result = fitted(history=history, budget=budget)
    assert result.tokens == words(result.turns) <= budget
    assert result.turns_used + result.turns_left_out == turns
    if result.turns_used:
        assert list(result.turns[1:-1]) == history[-result.turns_used :]
