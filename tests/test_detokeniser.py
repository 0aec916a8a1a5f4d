"""The detokeniser: pieces that add up to the text, of whole characters, and nothing of a stop string."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from engine.generation import TokenScore
from engine.generation.detokeniser import _HOPELESS, _WINDOW, Detokeniser, token_bytes
from engine.training import StarterShape, _new_tokenizer

SAMPLE = "the quick brown fox jumps over the lazy dog, über naïve 漢字 😀 " * 5
BYTES = _new_tokenizer([SAMPLE], StarterShape(vocabulary=320, context=256))
# Half of the characters from where tokens end within them; and short texts over few letters for stop strings.
TEXTS = st.text(
    st.one_of(
        st.sampled_from("the quick<|>\n  "),
        st.sampled_from("é漢字の😀👩🏽\u200d\u0301\ufe0fहि"),
        st.characters(codec="utf-8"),
    ),
    max_size=120,
)
FEW = st.text(st.sampled_from("abc é"), max_size=40)


def metaspace():
    """A SentencePiece-like tokenizer: word borders as ▁, unknown characters as bytes."""
    pieces = [
        "<unk>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "▁the",
        "▁fox",
        "es",
        "e",
        "é",
    ]
    made = Tokenizer(
        models.BPE(
            {piece: place for place, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True
        )
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    made.add_special_tokens(["</s>"])
    return made


def pieces_of(tokenizer, ids, *stop):
    detokeniser = Detokeniser(tokenizer, stop)
    return [*map(detokeniser.feed, ids), detokeniser.close()], detokeniser


def cut(text, stops):
    """The text up to the stop string that is complete first; of two that end together, the longer."""
    for end in range(len(text) + 1):
        if found := [len(stop) for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(found)]
    return text


class Counting:
    """A tokenizer that counts what it decodes."""

    def __init__(self, tokenizer):
        self._decode, self.calls, self.tokens = tokenizer.backend_tokenizer.decode, 0, 0

    def decode(self, ids, skip_special_tokens):
        self.calls, self.tokens = self.calls + 1, self.tokens + len(ids)
        return self._decode(ids, skip_special_tokens=skip_special_tokens)


class TestText:
    @pytest.mark.parametrize(
        "text",
        ["grüße 漢字", "👩‍👩‍👧 ok", "हिन्दी e\u0301", " the  lazy\n\n dog", "😀" * 50, "", "fox " * 100],
    )
    def test_pieces_add_up_to_the_text_and_none_holds_half_a_character(self, text):
        ids = BYTES(text)["input_ids"]
        pieces, _ = pieces_of(BYTES, ids)
        assert not any("\ufffd" in piece for piece in pieces)
        assert "".join(pieces) == text == BYTES.decode(ids)

    @settings(max_examples=300, deadline=None)
    @given(text=TEXTS, dropped=st.integers(0, 3))
    def test_any_text_cut_off_at_any_token_comes_whole_but_for_half_a_character(self, text, dropped):
        ids = BYTES(text)["input_ids"]
        ids = ids[: len(ids) - dropped]
        whole = BYTES.decode(ids, skip_special_tokens=True).rstrip("\ufffd")
        pieces, _ = pieces_of(BYTES, ids)
        assert "".join(pieces) == whole
        assert ("\ufffd" in "".join(pieces)) == ("\ufffd" in whole)

    @settings(max_examples=300, deadline=None)
    @given(ids=st.lists(st.integers(0, len(BYTES) - 1), max_size=_HOPELESS - 1))
    @example(ids=[*BYTES("é" * 40)["input_ids"], *BYTES("漢")["input_ids"][:1], *BYTES("fox")["input_ids"]])
    def test_any_tokens_also_ones_that_are_no_text_come_as_they_decode(self, ids):
        assert "".join(pieces_of(BYTES, ids)[0]) == BYTES.decode(ids, skip_special_tokens=True).rstrip(
            "\ufffd"
        )

    @settings(max_examples=200, deadline=None)
    @given(
        words=st.lists(
            st.sampled_from(["▁", "▁the", "▁fox", "es", "e", "é", "</s>", "漢", "😀", "ñ"]), max_size=60
        )
    )
    def test_a_decoder_that_joins_tokens_by_their_neighbours_gives_the_same_text(self, words):
        tokenizer = metaspace()
        ids = []
        for word in words:
            known = tokenizer.token_to_id(word)
            spelt = [f"<0x{byte:02X}>" for byte in word.encode()]
            ids += [known] if known is not None else map(tokenizer.token_to_id, spelt)
        assert "".join(pieces_of(tokenizer, ids)[0]) == tokenizer.decode(ids, skip_special_tokens=True)

    def test_every_piece_comes_with_the_token_that_completes_it(self):
        ids = BYTES("fox 😀!")["input_ids"]
        detokeniser, shown = Detokeniser(BYTES), ""
        for end, token_id in enumerate(ids, 1):
            shown += detokeniser.feed(token_id)
            assert shown == BYTES.decode(ids[:end]).rstrip("\ufffd")

    def test_half_a_character_at_the_end_is_dropped(self):
        ids = BYTES("dog 😁")["input_ids"][:-1]
        assert BYTES.decode(ids) != "dog "
        assert "".join(pieces_of(BYTES, ids)[0]) == "dog "

    def test_special_tokens_are_no_text(self):
        end = BYTES.eos_token_id
        ids = [end, *BYTES("the")["input_ids"], end, end, *BYTES(" fox")["input_ids"], end]
        assert "".join(pieces_of(BYTES, ids)[0]) == "the fox"

    def test_bytes_that_never_become_a_character_do_not_hold_the_text_for_ever(self):
        first_half = BYTES("漢é")["input_ids"][0]
        detokeniser = Detokeniser(BYTES)
        shown = "".join(detokeniser.feed(first_half) for _ in range(10 * _HOPELESS))
        assert len(shown) > 8 * _HOPELESS
        assert "".join(map(detokeniser.feed, BYTES("a fox")["input_ids"])).endswith("a fox")

    def test_tokens_that_show_nothing_are_not_decoded_again_and_again(self):
        counting = Counting(BYTES)
        detokeniser = Detokeniser(counting)
        count = 20 * _HOPELESS
        assert "".join(detokeniser.feed(BYTES.eos_token_id) for _ in range(count)) == ""
        assert counting.tokens <= count * (_HOPELESS + 1)
        assert "".join(map(detokeniser.feed, BYTES(" fox")["input_ids"])) == " fox"

    def test_a_token_costs_little_more_than_one_short_decoding(self):
        counting, ids = Counting(BYTES), BYTES(SAMPLE * 10)["input_ids"]
        assert "".join(map(Detokeniser(counting).feed, ids)) == SAMPLE * 10
        assert counting.calls < len(ids) * (1 + 2 / _WINDOW)
        assert counting.tokens < len(ids) * (_WINDOW + 2)


class TestStopStrings:
    def test_a_stop_string_across_tokens_is_never_shown(self):
        ids = BYTES("the answer<STOP>not this")["input_ids"]
        assert len(BYTES("<STOP>")["input_ids"]) > 2
        pieces, detokeniser = pieces_of(BYTES, ids, "<STOP>")
        assert "".join(pieces) == "the answer"
        assert not any("<" in piece for piece in pieces)
        assert detokeniser.is_stopped

    def test_what_only_began_like_a_stop_string_is_shown_in_the_end(self):
        for text in ("a <STO", "a <ST> b", "a <<STO", "a <S<ST"):
            pieces, detokeniser = pieces_of(BYTES, BYTES(text)["input_ids"], "<STOP>")
            assert "".join(pieces) == text
            assert not detokeniser.is_stopped

    def test_the_first_of_several_stop_strings_wins(self):
        ids = BYTES("one\nUser: two END")["input_ids"]
        assert "".join(pieces_of(BYTES, ids, "END", "\nUser:")[0]) == "one"

    def test_an_empty_stop_string_is_none(self):
        assert "".join(pieces_of(BYTES, BYTES("fox")["input_ids"], "")[0]) == "fox"

    @settings(max_examples=500, deadline=None)
    @given(text=FEW, stops=st.lists(st.text(st.sampled_from("abc é"), min_size=1, max_size=5), max_size=4))
    @example(text="aabaabaac", stops=["aabaac"])
    @example(text="abcd", stops=["bc", "abcd"])
    def test_the_text_ends_where_the_first_stop_string_begins(self, text, stops):
        # Given the text written token by token
        detokeniser = Detokeniser(BYTES, tuple(stops))
        expected, shown, ids = cut(text, stops), "", BYTES(text)["input_ids"]
        for end, token_id in enumerate(ids, 1):
            shown += detokeniser.feed(token_id)

            # Then nothing is shown that a stop string could still take back, and nothing but that is held
            so_far = BYTES.decode(ids[:end]).rstrip("\ufffd")
            held = max(
                (n for stop in stops for n in range(len(stop)) if so_far.endswith(stop[:n])), default=0
            )
            assert shown == (expected if detokeniser.is_stopped else so_far[: len(so_far) - held])

        # And in the end all of it is there, and no more
        assert shown + detokeniser.close() == expected
        assert detokeniser.is_stopped == any(stop in text for stop in stops)

    @settings(max_examples=200, deadline=None)
    @given(text=TEXTS, start=st.integers(0, 100), length=st.integers(1, 6))
    def test_a_stop_string_of_any_characters_is_found(self, text, start, length):
        stop = text[start : start + length]
        if stop and "\ufffd" not in stop:
            assert "".join(pieces_of(BYTES, BYTES(text)["input_ids"], stop)[0]) == text[: text.index(stop)]


class TestTokenBytes:
    @settings(max_examples=200, deadline=None)
    @given(text=TEXTS)
    def test_the_bytes_of_a_texts_tokens_are_the_texts(self, text):
        ids = BYTES(text)["input_ids"]
        assert b"".join(token_bytes(BYTES.backend_tokenizer, it) for it in ids) == text.encode()

    def test_word_borders_and_single_bytes_of_sentencepiece_are_read(self):
        made = metaspace()
        spelt = ["▁the", "▁", "▁fox", "es", "é", "<0xF0>", "</s>"]
        assert [token_bytes(made, made.token_to_id(piece)) for piece in spelt] == [
            b" the",
            b" ",
            b" fox",
            b"es",
            "é".encode(),
            b"\xf0",
            b"",
        ]

    def test_a_score_is_told_with_the_texts_of_its_tokens(self):
        the, half = BYTES(" the")["input_ids"][-1], BYTES("漢é")["input_ids"][0]
        found = Detokeniser(BYTES).describe(the, TokenScore(-0.5, ((half, -0.1), (BYTES.eos_token_id, -9.0))))
        assert (found.raw.decode(), found.token, found.logprob) == (found.token, found.token, -0.5)
        assert [it.logprob for it in found.top] == [-0.1, -9.0]
        assert found.top[0].token == "\ufffd"
        assert "漢".encode().startswith(found.top[0].raw) and found.top[0].raw
        assert (found.top[1].token, found.top[1].raw) == (BYTES.eos_token, b"")
        assert json.dumps(found.token)
