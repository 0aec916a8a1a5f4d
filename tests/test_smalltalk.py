"""Greetings, thanks and goodbyes are known by their words; a question is never taken for one."""

import time

import pytest

from engine.smalltalk import reply_to


def said(message):
    return reply_to(message, "the help desk")


@pytest.mark.parametrize(
    "message",
    [
        "hi",
        "Hello!",
        "hello hello",
        "Hey there :)",
        "hiii",
        "Good morning",
        "hello 👋",
        "Guten Tag",
        "Moin moin",
        "Bonjour !",
        "¡Hola!",
        "Buenos días",
        "buenas tardes",
        "ciao",
        "Olá",
        "Hej",
        "你好",
        "您好！",
        "こんにちは",
        "Hi bot, hello",
    ],
)
def test_a_greeting_is_greeted_by_name(message):
    assert said(message) == ("Hello! This is the help desk. What can I help you with?", "answer")


@pytest.mark.parametrize(
    "message",
    [
        "thanks",
        "Thank you so much!!",
        "ok thanks",
        "Great, thank you very much",
        "many thanks",
        "thx",
        "Danke schön",
        "merci",
        "gracias",
        "tak",
        "grazie",
        "谢谢",
        "ありがとう",
    ],
)
def test_thanks_are_welcome(message):
    text, decision = said(message)
    assert text.startswith("You are welcome")
    assert decision == "answer"


@pytest.mark.parametrize(
    "message",
    [
        "bye",
        "Goodbye!",
        "bye-bye",
        "bye bye bye",
        "see you later",
        "Have a nice day!",
        "Tschüss",
        "Auf Wiedersehen",
        "au revoir",
        "adiós",
        "再见",
    ],
)
def test_a_goodbye_is_returned(message):
    assert said(message) == ("Goodbye, and take care!", "answer")


@pytest.mark.parametrize(
    "message",
    [
        "Can I talk to a human?",
        "I want to speak with a real person, please",
        "please connect me to an agent",
        "could someone transfer me to a representative",
        "let me talk to somebody",
        "put me through to a colleague",
        "get me a person",
        "I need a human!",
        "human",
        "Agent!",
    ],
)
def test_who_asks_for_a_person_is_handed_over(message):
    text, decision = said(message)
    assert decision == "hand_over"
    assert "colleague" in text


@pytest.mark.parametrize(
    "message",
    [
        "Hello, where is my parcel?",
        "hi how long do I have to return an item",
        "Good morning, are you open today?",
        "Hola, ¿dónde está mi pedido?",
        "thanks, but where is my refund?",
        "Thank you, and what does it cost?",
        "Bye the way, do you ship to Norway?",
        "history",
        "They",
        "Can I get a gift card for another person?",
        "Can I pass my discount on to a colleague?",
        "How do I transfer points to another person?",
        "Can I have a person's name engraved?",
        "Which agent delivers my parcel?",
        "???",
        "👋",
        "",
    ],
)
def test_a_question_is_no_small_talk_however_it_begins(message):
    assert said(message) is None


@pytest.mark.parametrize(
    "phrase", ["bye", "bye ", "hi", "hey ", "ok thanks ", "ciao ", "talk to ", "hi there "]
)
def test_a_long_repetition_is_decided_at_once(phrase):
    message = (phrase * 200)[:199] + "x"
    began = time.perf_counter()
    assert said(message) is None
    assert time.perf_counter() - began < 0.1


def test_a_long_message_is_no_small_talk():
    assert said("hello " * 50) is None
