"""Texts become terms: folded, lightly stemmed, in any script."""

import pytest

from engine.search.terms import content_terms, fold, terms


def test_plural_ing_and_ed_endings_fall_away():
    assert terms("Parcels delivered, parcel delivering") == ["parcel", "deliver", "parcel", "deliver"]
    assert terms("policies policy class") == ["policy", "policy", "class"]


def test_words_that_every_text_has_are_no_content():
    assert content_terms("How do I return the shoes?") == ["return", "sho"]
    assert content_terms("Wie kann ich mich bei euch und der Firma beschweren?") == ["firma", "beschweren"]
    assert content_terms("¿Dónde puedo devolver los zapatos?") == ["devolver", "zapato"]
    assert content_terms("Où est-ce que je peux suivre la livraison ?") == ["peux", "suivr", "livraison"]
    assert content_terms("What's this? It's what you'd have.") == []


def test_a_word_that_means_something_in_another_language_is_content():
    assert content_terms("war die bin hat pour son") == ["war", "die", "bin", "hat", "pour", "son"]


def test_accents_and_width_make_no_difference_to_a_search():
    assert content_terms("Café RÉSUMÉ") == content_terms("cafe resume")
    assert content_terms("Cafe\u0301 Straße") == content_terms("café strasse")
    assert content_terms("ｉＰｈｏｎｅ　１５") == content_terms("iphone 15")
    assert content_terms("Bestellübersicht naïve") == content_terms("bestellubersicht naive")


def test_accents_make_a_difference_where_texts_are_compared_word_by_word():
    assert terms("wurde") != terms("würde")


def test_a_mark_that_makes_another_letter_stays():
    assert fold("が") == "が"
    assert fold("हिन्दी") == "हिन्दी"
    assert fold("한국어") == "한국어"


def test_an_apostrophe_cuts_english_endings_and_french_beginnings():
    assert terms("customer's customer’s") == ["customer", "customer"]
    assert content_terms("l'adresse d’une commande qu'il") == ["adress", "command"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("退款政策", ["退款", "款政", "政策"]),
        ("配送はいつ", ["配送", "送は", "はい", "いつ"]),
        ("药", ["药"]),
        ("iPhone15手机壳", ["iphone15", "手机", "机壳"]),
        ("退款、政策", ["退款", "政策"]),
        ("배송은 얼마", ["배송은", "배송", "송은", "얼마"]),
        ("ราคา", ["รา", "าค", "คา"]),
    ],
)
def test_scripts_without_spaces_give_pairs_of_characters(text, expected):
    assert content_terms(text) == expected


def test_vowel_signs_do_not_cut_a_word():
    assert content_terms("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


def test_an_underscore_parts_words():
    assert content_terms("order_number") == ["order", "number"]


@pytest.mark.parametrize("text", ["", " ", "?!…", "'", "_", "\u0301", "\ud800", "🎉🎉"])
def test_a_text_without_words_has_no_terms(text):
    assert content_terms(text) == []
    assert terms(text) == []
