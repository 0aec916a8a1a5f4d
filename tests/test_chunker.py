"""Sliding windows lose nothing, never go over, and are the same for a stream."""

import itertools
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer, WordPieceTrainer

from engine.chunker import stream_windows, windows
from engine.encoding import tape
from engine.encoding.byte_level import GPT2, PATTERNS
from engine.encoding.encoder import encoder_for

CORPUS = [
    "the quick brown fox jumps over the lazy dog. It's 2024, isn't it? " * 20,
    "# Title\n\n- one item\n- two items\n\n    code = 'here'\n\n漢字とかな。你好，世界。" * 10,
]
SNAPS = ["sentence", "line", "character"]
KINDS = ["byte-level", "short words", "long words", "no seams", "metaspace", "word pieces"]


def byte_level(pattern=GPT2):
    """A byte-level BPE with a few merges: an emoji is several tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    return made


def no_seams():
    """The same without words: merges reach across spaces."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    trainer = BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([line for text in CORPUS for line in text.split(". ")], trainer)
    return made


def metaspace():
    """As SentencePiece makes them: a mark before every word, unknown characters as bytes, NFKC."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("▁")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(CORPUS, BpeTrainer(vocab_size=500, special_tokens=pieces, show_progress=False))
    return made


def word_pieces():
    """As BERT's: lower case, no accents, white space dropped."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        CORPUS, WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    )
    return made


@pytest.fixture(scope="module")
def tokenizers():
    """Of `KINDS`: the patterns that find words differ in what they do at line breaks."""
    patterns = sorted(PATTERNS - {GPT2}, key=len)
    byte_levels = [byte_level(pattern) for pattern in (GPT2, patterns[0], patterns[-1])]
    return dict(zip(KINDS, [*byte_levels, no_seams(), metaspace(), word_pieces()], strict=True))


@pytest.fixture(scope="module")
def tokenizer(tokenizers):
    return tokenizers["byte-level"]


WHOLE = ["é", "e\u0301", "😀", "👩‍👩‍👧", "👍🏽", "🇩🇪", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u1100\u1161\u11a8", "\r\n"]
WORDS = [
    *"the quick fox 123\t.,!?'\"-#*",
    "\n",
    "\n\n",
    "  ",
    "。",
    "，",
    "漢",
    "字",
    "क्ष",
    "\u200b",
    "It's",
    "/",
    "\x1c",
]
TEXTS = st.lists(st.sampled_from([*WORDS, *WORDS, *WHOLE, ". ", "brown fox"]), max_size=150).map("".join)
MIXED = TEXTS | st.text(max_size=80)
SIZES = st.tuples(st.integers(8, 60), st.floats(0, 0.99)).map(lambda pair: (pair[0], int(pair[0] * pair[1])))


def check(text, tokenizer, size, slid):
    """Everything that is promised of windows."""
    rebuilt, reached, started = "", 0, -1
    for window in slid:
        again = tokenizer.encode(text[window.start : window.end], add_special_tokens=False).ids
        assert len(again) <= size
        assert window.token_ids == tuple(again)
        assert started < window.start <= reached < window.end
        rebuilt += text[reached : window.end]
        started, reached = window.start, window.end
    assert rebuilt == text


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=120, deadline=None)
@given(text=MIXED, sizes=SIZES, snap=st.sampled_from(SNAPS))
def test_windows_fit_again_and_minus_overlaps_give_back_the_text(tokenizers, kind, text, sizes, snap):
    check(text, tokenizers[kind], sizes[0], windows(text, tokenizers[kind], *sizes, snap))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=MIXED, sizes=SIZES, snap=st.sampled_from(SNAPS), block=st.integers(20, 90), data=st.data())
def test_a_stream_has_the_windows_of_the_text_wherever_it_is_cut(
    tokenizers, kind, text, sizes, snap, block, data
):
    """With small blocks, so that windows reach over many."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape, "BLOCK", block)
        streamed = list(stream_windows(pieces, tokenizers[kind], *sizes, snap))
        assert streamed == list(windows(text, tokenizers[kind], *sizes, snap))
    check(text, tokenizers[kind], sizes[0], streamed)


@settings(max_examples=60, deadline=None)
@given(
    characters=st.lists(st.sampled_from([*"the fox 1.\n", *WHOLE]), max_size=150),
    overlap=st.integers(0, 20),
    snap=st.sampled_from(SNAPS),
)
def test_no_window_begins_or_ends_within_a_character(tokenizer, characters, overlap, snap):
    between = {0, *itertools.accumulate(map(len, characters))}
    for window in windows("".join(characters), tokenizer, 60, overlap, snap):
        assert {window.start, window.end} <= between


def test_neighbours_share_the_overlap(tokenizer):
    text = "the quick brown fox jumps over the lazy dog " * 30
    slid = list(windows(text, tokenizer, size=32, overlap=16))
    assert len(slid) > 3
    for earlier, later in pairwise(slid):
        shared = tokenizer.encode(text[later.start : earlier.end]).ids
        assert 12 <= len(shared) <= 16


def test_windows_end_with_a_sentence_where_one_ends_in_the_last_quarter(tokenizer):
    text = "It's the quick brown fox, e.g. here. " * 40
    slid = list(windows(text, tokenizer, size=64, overlap=16))
    assert {text[window.start : window.end].strip()[-5:] for window in slid} == {"here."}
    assert {text[window.start : window.end].strip()[:4] for window in slid} == {"It's"}


def test_a_sentence_without_spaces_ends_at_its_mark(tokenizer):
    text = "漢字とかなの文。" * 40
    assert all(text[: window.end].endswith("。") for window in windows(text, tokenizer, 64, 16))


def test_windows_end_with_a_line_where_no_sentence_ends(tokenizer):
    text = "- the quick brown fox\n" * 40
    for snap in ("sentence", "line"):
        slid = list(windows(text, tokenizer, 40, 0, snap))
        assert all(text[window.start : window.end].endswith("fox\n") for window in slid)
        assert all(text[window.start :].startswith("- the") for window in slid)


def test_lines_and_words_are_whole_when_asked_for_lines(tokenizer):
    text = "the quick brown fox. " * 40
    ends = [text[: window.end] for window in windows(text, tokenizer, 40, 10, "line")]
    assert all(text[len(end)] == " " for end in ends[:-1])
    assert not all(end.endswith(".") for end in ends)


def test_snapped_to_characters_windows_are_as_large_as_they_can_be(tokenizer):
    text = "the quick brown fox jumps over the lazy dog " * 30
    *full, _ = windows(text, tokenizer, 32, 8, "character")
    assert {len(window.token_ids) for window in full} == {32}


def test_text_that_the_tokenizer_drops_is_still_covered():
    wordy = Tokenizer(models.WordLevel({"hello": 0, "world": 1, "[UNK]": 2}, unk_token="[UNK]"))
    wordy.normalizer = normalizers.Lowercase()
    wordy.pre_tokenizer = pre_tokenizers.Whitespace()
    text = "  Hello   WORLD  hello\n\n"
    slid = list(windows(text, wordy, size=1))
    assert "".join(text[window.start : window.end] for window in slid) == text
    assert [len(window.token_ids) for window in slid] == [1, 1, 1]


def test_a_tokenizer_that_cuts_off_what_is_long_is_read_whole(tokenizer):
    short = Tokenizer.from_str(tokenizer.to_str())
    short.enable_truncation(8)
    short.enable_padding(length=8)
    text = "the quick brown fox jumps over the lazy dog " * 5
    assert list(windows(text, short, 32, 8)) == list(windows(text, tokenizer, 32, 8))


def test_a_run_of_flags_is_cut_between_flags(tokenizer):
    text = "x" + "🇩🇪🇫🇷" * 200
    for snap in SNAPS:
        slid = list(windows(text, tokenizer, 61, 20, snap))
        assert all(window.start % 2 == 1 for window in slid[1:])
        assert all(window.end % 2 == 1 for window in slid)


@pytest.mark.parametrize("piece", ["a", "ab1!", "漢", " ", "\n", "🇩", "\u0301", "word ", "a\n\n"])
@pytest.mark.parametrize("kind", ["byte-level", "word pieces"])
def test_endless_runs_are_cut_too(tokenizers, kind, piece):
    text = (piece * 100_000)[:100_000]
    slid = list(windows(text, tokenizers[kind], 512, 128))
    check(text, tokenizers[kind], 512, slid)
    assert max(window.end - window.start for window in slid) <= 512 * 64


def test_a_long_stream_is_read_in_bounded_memory(tokenizer):
    line = "The quick brown fox jumps over the lazy dog, 漢字 and 😀 as well. It's fine!\n"
    pieces = itertools.repeat(line * 100, 300)
    encoder_for(tokenizer)
    tracemalloc.start()
    try:
        reached = sum(window.end - window.start for window in stream_windows(pieces, tokenizer, 256))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reached == len(line) * 30_000  # 2.3 million characters
    assert peak < 8_000_000  # bytes


def test_no_text_has_no_windows(tokenizer):
    assert list(windows("", tokenizer, 8)) == []
    assert list(stream_windows(["", ""], tokenizer, 8)) == []


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 4), (4, -1)])
def test_impossible_sizes_are_refused(tokenizer, size, overlap):
    with pytest.raises(ValueError, match="overlap"):
        list(windows("some text", tokenizer, size, overlap))


def test_a_character_larger_than_the_window_is_refused(tokenizer):
    with pytest.raises(ValueError, match="larger size"):
        list(windows("😀", tokenizer, 2))


def test_a_character_of_several_code_points_is_cut_when_it_is_larger_than_the_window(tokenizer):
    text = "👩‍👩‍👧"
    slid = list(windows(text, tokenizer, 6))
    assert len(slid) > 1
    check(text, tokenizer, 6, slid)
