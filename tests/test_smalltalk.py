"""Greetings, thanks and goodbyes are known by their words; a question is never taken for one."""

import time

import pytest

from engine.answering.smalltalk import accepts_offer, reply_to
from engine.language.phrases import LANGUAGES, say


def said(message, language=""):
    return reply_to(message, "Nora from Acme", language)


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("hi", "en"),
        ("Hello!", "en"),
        ("hello hello", "en"),
        ("Hey there :)", "en"),
        ("hiii", "en"),
        ("Good morning", "en"),
        ("hello 👋", "en"),
        ("Hi bot, hello", "en"),
        ("Guten Tag", "de"),
        ("Moin moin", "de"),
        ("Hallo zusammen", "de"),
        ("Bonjour !", "fr"),
        ("Salut, bonjour", "fr"),
        ("¡Hola!", "es"),
        ("Buenos días", "es"),
        ("buenas tardes", "es"),
        ("你好", "zh"),
        ("您好！", "zh"),
        ("你好，在吗？", "zh"),
        ("こんにちは", "ja"),
        ("おはようございます。", "ja"),
        ("ciao", "en"),
        ("Olá", "en"),
        ("Hej", "en"),
        ("привет", "en"),
    ],
)
def test_a_greeting_is_greeted_by_name_in_its_own_language(message, language):
    assert said(message) == (say("greeting", language, persona="Nora from Acme"), "answer")


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("thanks", "en"),
        ("Thank you so much!!", "en"),
        ("ok thanks", "en"),
        ("Great, thank you very much", "en"),
        ("many thanks", "en"),
        ("thx", "en"),
        ("Hello, thanks a lot", "en"),
        ("Danke schön", "de"),
        ("Super, vielen Dank!", "de"),
        ("merci", "fr"),
        ("Merci beaucoup !", "fr"),
        ("gracias", "es"),
        ("¡Muchas gracias!", "es"),
        ("谢谢", "zh"),
        ("好的，谢谢您", "zh"),
        ("ありがとう", "ja"),
        ("どうもありがとうございました", "ja"),
        ("tak", "en"),
        ("grazie", "en"),
    ],
)
def test_thanks_are_welcome(message, language):
    assert said(message) == (say("thanks", language), "answer")


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("bye", "en"),
        ("Goodbye!", "en"),
        ("bye-bye", "en"),
        ("bye bye bye", "en"),
        ("see you later", "en"),
        ("Have a nice day!", "en"),
        ("Thanks, bye!", "en"),
        ("Tschüss", "de"),
        ("Auf Wiedersehen", "de"),
        ("au revoir", "fr"),
        ("Merci, bonne journée", "fr"),
        ("adiós", "es"),
        ("再见", "zh"),
        ("谢谢，再见", "zh"),
        ("失礼します", "ja"),
    ],
)
def test_a_goodbye_is_returned(message, language):
    assert said(message) == (say("goodbye", language), "answer")


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("ok", "en"),
        ("No thanks", "en"),
        ("No, that's all.", "en"),
        ("alles klar", "de"),
        ("d'accord", "fr"),
        ("vale", "es"),
        ("好的", "zh"),
        ("わかりました", "ja"),
    ],
)
def test_who_needs_nothing_more_is_let_go(message, language):
    assert said(message) == (say("declined", language), "answer")


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("Can I talk to a human?", "en"),
        ("I want to speak with a real person, please", "en"),
        ("please connect me to an agent", "en"),
        ("could someone transfer me to a representative", "en"),
        ("let me talk to somebody", "en"),
        ("put me through to a colleague", "en"),
        ("get me a person", "en"),
        ("I need a human!", "en"),
        ("human", "en"),
        ("Agent!", "en"),
        ("Kann ich mit einem Menschen sprechen?", "de"),
        ("Ich möchte bitte mit jemandem aus dem Team reden", "de"),
        ("Verbinden Sie mich mit einem Mitarbeiter", "de"),
        ("ich will einen echten Menschen", "de"),
        ("Mitarbeiter bitte", "de"),
        ("Je voudrais parler à un conseiller", "fr"),
        ("Puis-je parler avec quelqu'un ?", "fr"),
        ("passez-moi une vraie personne", "fr"),
        ("Quiero hablar con una persona", "es"),
        ("¿Me puede pasarme con un agente?", "es"),
        ("necesito un agente", "es"),
        ("转人工", "zh"),
        ("我想找人工客服", "zh"),
        ("可以跟真人聊吗？", "zh"),
        ("人工服务", "zh"),
        ("担当者と話したいです", "ja"),
        ("オペレーターにつないでください", "ja"),
        ("人間と話せますか", "ja"),
        ("オペレーター", "ja"),
    ],
)
def test_who_asks_for_a_person_is_handed_over(message, language):
    assert said(message) == (say("hand_over", language), "hand_over")


@pytest.mark.parametrize(
    "message",
    [
        "Hello, where is my parcel?",
        "hi, how do I return a shirt?",
        "hi how long do I have to return an item",
        "Good morning, are you open today?",
        "Hola, ¿dónde está mi pedido?",
        "Guten Tag, wo ist mein Paket?",
        "Bonjour, où est mon colis ?",
        "你好，请问怎么退货？",
        "こんにちは、返品できますか",
        "thanks, but where is my refund?",
        "Thank you, and what does it cost?",
        "Merci, et combien ça coûte ?",
        "谢谢，什么时候到货？",
        "Bye the way, do you ship to Norway?",
        "ok and how much is it?",
        "no refund yet",
        "history",
        "They",
        "Can I get a gift card for another person?",
        "Can I pass my discount on to a colleague?",
        "How do I transfer points to another person?",
        "Can I have a person's name engraved?",
        "Which agent delivers my parcel?",
        "Kann ich mein Konto mit einer anderen Person teilen?",
        "Puis-je offrir une carte à une autre personne ?",
        "¿Puede recogerlo otra persona?",
        "担当者の対応が悪かったです",
        "退货需要人工费吗",
        "???",
        "👋",
        "",
    ],
)
def test_a_question_is_no_small_talk_however_it_begins(message):
    assert said(message) is None


def test_the_conversations_language_goes_before_the_words_own():
    assert said("ok thanks", "de") == (say("thanks", "de"), "answer")
    assert said("Agent!", "fr") == (say("hand_over", "fr"), "hand_over")
    assert said("Danke", "it") == (say("thanks", "de"), "answer")


def test_a_persona_that_nobody_named_is_called_in_the_customers_language():
    assert reply_to("Hallo", "the help desk")[0] == say("greeting", "de", persona="der Kundenservice")
    assert "the help desk" in reply_to("Hello", "the help desk")[0]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("message", "is_accepted"),
    [
        ("yes", True),
        ("Yes please!", True),
        ("yes, thank you", True),
        ("ok", True),
        ("Please do", True),
        ("ja gerne", True),
        ("Ja, bitte.", True),
        ("oui, s'il vous plaît", True),
        ("sí, por favor", True),
        ("si", True),
        ("好的，谢谢", True),
        ("需要", True),
        ("はい、お願いします", True),
        ("no", False),
        ("No thanks", False),
        ("nein danke", False),
        ("Non merci", False),
        ("no, gracias", False),
        ("不用了，谢谢", False),
        ("いいえ、結構です", False),
        ("thanks", None),
        ("yes but how much does it cost?", None),
        ("no refund yet", None),
        ("How do I return it?", None),
        ("Noah", None),
        ("", None),
    ],
)
def test_an_offered_person_is_taken_or_not_in_any_language(message, is_accepted, language):
    assert accepts_offer(message, say("not_found", language)) is is_accepted


def test_a_yes_to_something_else_takes_no_offer():
    assert accepts_offer("yes please", "You have 30 days to return it.") is None
    assert accepts_offer("yes please", "") is None


@pytest.mark.parametrize(
    "phrase",
    ["bye", "bye ", "hi", "hey ", "ok thanks ", "ciao ", "talk to ", "hi there ", "ok ", "no ", "好"],
)
def test_a_long_repetition_is_decided_at_once(phrase):
    message = (phrase * 200)[:199] + "x"
    began = time.perf_counter()
    assert said(message) is None
    assert accepts_offer(message, say("not_found", "en")) is None
    assert time.perf_counter() - began < 2


def test_a_long_message_is_no_small_talk():
    assert said("hello " * 50) is None
    assert accepts_offer("yes " * 80, say("not_found", "en")) is None
