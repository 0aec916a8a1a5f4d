"""Encoding gives what the tokenizer gives, whichever library does it."""

import gc
import json
import sys
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from engine.encoding.byte_level import PATTERNS
from engine.encoding.encoder import SEAM, Encoder, encoder_for

CORPUS = [
    "the quick brown fox jumps over the lazy dog. It's 2024, isn't it? " * 20,
    "# Title\n\n- one item\n- two items\n\n    code = 'here'\n\n漢字とかな。你好，世界。Größe naïve" * 10,
]
TEXTS = st.lists(
    st.sampled_from(
        [
            *"the fox IT'S're 1234567 \t\n\r.,!?-#/",
            "  ",
            "\n\n",
            "漢字",
            "。",
            "，",
            "é",
            "e\u0301",
            "😀",
            "\x1c",
        ]
    ),
    max_size=60,
).map("".join) | st.text(max_size=60)


def train(pre_tokenizer, normalizer=None, **options):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    made.decoder = decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": 500, "initial_alphabet": alphabet, "show_progress": False, **options}
    made.train_from_iterator(CORPUS, BpeTrainer(**options))
    return made


def split_by(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def changed(tokenizer, change):
    """The tokenizer with its configuration changed in place."""
    config = json.loads(tokenizer.to_str())
    change(config)
    return Tokenizer.from_str(json.dumps(config))


def plain(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **options)


FAST = {
    "GPT-2": lambda: train(plain()),
    "NFC": lambda: train(plain(), normalizers.NFC()),
    "special tokens": lambda: train(plain(), special_tokens=["<|end|>", "[MASK]"]),
    **{pattern[:24]: lambda pattern=pattern: train(split_by(pattern)) for pattern in sorted(PATTERNS)},
}


@pytest.fixture(scope="module", params=FAST)
def fast(request):
    return FAST[request.param]()


@pytest.fixture(scope="module")
def tokenizer():
    return train(plain(), special_tokens=["<|end|>"])


def reference(tokenizer, text):
    """Ids and where they end, by the tokenizer itself."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return encoding.ids, [end for _, end in encoding.offsets]


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_byte_level_tokenizers_are_read_by_tiktoken_with_the_same_result(fast, text):
    encoder = encoder_for(fast)
    assert (encoder.backend, encoder.has_seams) == ("tiktoken", True)
    ids, ends = encoder.encode(text)
    assert (ids, ends.tolist()) == reference(fast, text)
    assert encoder.ids(text) == ids


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_a_text_cut_at_a_seam_has_the_tokens_of_the_whole(fast, text):
    for seam in SEAM.finditer(text):
        before, after = text[: seam.start()], text[seam.start() :]
        assert fast.encode(before).ids + fast.encode(after).ids == fast.encode(text).ids


@pytest.mark.parametrize(
    "text", ["<|end|>", "a<|end|> b", "the <|end|>\n\nthe", "[MASK]s", "cafe\u0301 <|end|>", "<|en d|>"]
)
def test_special_tokens_in_a_text_are_read_as_the_tokenizer_reads_them(text):
    special = FAST["special tokens"]()
    assert encoder_for(special).ids(text) == special.encode(text).ids
    special.encode_special_tokens = True
    assert encoder_for(special).ids(text) == special.encode(text).ids
    assert not set(encoder_for(special).ids(text)) & {0, 1}


def test_text_that_a_normaliser_changes_goes_through_the_tokenizer():
    composing = FAST["NFC"]()
    encoder = encoder_for(composing)
    assert encoder.backend == "tiktoken"
    assert encoder.ids("cafe\u0301") == composing.encode("cafe\u0301").ids == encoder.ids("caf\u00e9")


def later_first(config):
    """Exchange the ids of the first and the last merge."""
    merges, vocabulary = config["model"]["merges"], config["model"]["vocab"]
    first, last = ("".join(merges[row]) for row in (0, -1))
    vocabulary[first], vocabulary[last] = vocabulary[last], vocabulary[first]


def without_a_byte(config):
    del config["model"]["vocab"]["Ā"]


SLOW = {
    "a space before the text": lambda: train(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "words of another kind": lambda: train(split_by(r"\w+|\s+|\W")),
    "lower case": lambda: train(plain(), normalizers.Lowercase()),
    "ids in another order": lambda: changed(train(plain()), later_first),
    "a byte is missing": lambda: changed(train(plain()), without_a_byte),
    "a mark at the end of words": lambda: train(plain(), end_of_word_suffix="</w>"),
    "words as tokens": lambda: Tokenizer(models.WordLevel({"the": 0, "[UNK]": 1}, unk_token="[UNK]")),
}


@pytest.mark.parametrize("kind", SLOW)
def test_other_tokenizers_are_used_themselves(kind):
    slow = SLOW[kind]()
    encoder = encoder_for(slow)
    assert encoder.backend == "tokenizers"
    for text in [*CORPUS, "Größe 漢字 😀"]:
        ids, ends = encoder.encode(text)
        assert ids == slow.encode(text).ids
        assert all(ends[1:] >= ends[:-1])


def test_a_vocabulary_whose_merges_do_not_reach_a_token_is_noticed():
    """`abc` is made of `ab` and `c`, but `bc` is merged first: only tiktoken would find it."""

    def add(config):
        vocabulary, merges = config["model"]["vocab"], config["model"]["merges"]
        for left, right in (("Q", "Z"), ("X", "Q"), ("XQ", "Z")):
            vocabulary[left + right] = len(vocabulary)
            merges.append([left, right])

    unreachable = changed(train(plain(), vocab_size=300), add)
    assert unreachable.encode("XQZ").tokens == ["X", "QZ"]
    assert encoder_for(unreachable).backend == "tokenizers"


def test_without_tiktoken_the_tokenizer_does_it(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    encoder = Encoder(tokenizer)
    assert (encoder.backend, encoder.has_seams) == ("tokenizers", True)
    ids, ends = encoder.encode(CORPUS[1])
    assert (ids, ends.tolist()) == reference(tokenizer, CORPUS[1])


@pytest.mark.parametrize("options", [{"rstrip": True}, {"lstrip": True}, {}])
def test_added_tokens_that_reach_over_spaces_leave_no_seams(options):
    made = train(plain())
    made.add_special_tokens([AddedToken("<end>" if options else "<the end>", **options)])
    assert not encoder_for(made).has_seams


def test_an_encoder_is_made_once_and_goes_with_its_tokenizer():
    made = train(plain())
    encoder = encoder_for(made)
    assert encoder_for(made) is encoder
    made.add_tokens(["quickbrown"])
    assert encoder_for(made) is not encoder
    assert encoder_for(made).ids("quickbrown") == made.encode("quickbrown").ids
    gone = weakref.ref(encoder_for(made))
    del made
    gc.collect()
    assert gone() is None


def test_a_tokenizer_of_transformers_is_read_by_its_backend(tokenizer):
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    text = "It's the fox.<|end|> 漢字"
    assert encoder_for(wrapped).ids(text) == wrapped(text, add_special_tokens=False)["input_ids"]


def test_half_a_surrogate_pair_counts_as_a_replacement_character(tokenizer):
    ids, ends = encoder_for(tokenizer).encode("a\ud83d b\udc00")
    assert ids == tokenizer.encode("a\ufffd b\ufffd").ids == encoder_for(tokenizer).ids("a\ud83d b\udc00")
    assert ends[-1] == 5
