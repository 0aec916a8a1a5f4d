"""Which language a customer writes in, from a few words on, whatever is quoted, linked or pasted."""

import subprocess
import sys

import pytest

from engine.language.languages import detect

SAID = {
    "en": [
        "Where is my parcel?",
        "How do I return a shirt?",
        "my order 12345 hasn't arrived yet",
        "where can I find my invoice",
        "refund please",
        "iPhone 15 does not charge anymore",
        "Bonjour, where is my parcel?",
    ],
    "de": [
        "Wo ist mein Paket?",
        "Wie lange kann ich ein Hemd zurückgeben?",
        "Mein iPhone lädt nicht mehr",
        "kann ich mit paypal zahlen",
        "rechnung bitte",
    ],
    "fr": ["Où est mon colis ?", "Comment retourner une chemise", "puis-je payer avec PayPal"],
    "es": ["¿Dónde está mi pedido?", "quiero cancelar mi pedido", "puedo pagar con PayPal"],
    "it": ["Dov'è il mio pacco?", "quanto costa la spedizione"],
    "pt": ["Onde está a minha encomenda?", "qual é o prazo de entrega"],
    "nl": ["Waar is mijn pakket?", "ik wil mijn bestelling annuleren"],
    "pl": ["Gdzie jest moja paczka?"],
    "sv": ["Var är mitt paket?"],
    "zh": [
        "我的包裹在哪里？",
        "退款",
        "请问 iPhone 15 Pro Max 多少钱",
        "可以用 PayPal 付款吗",
        "谁赢得了1998年世界杯？",
    ],
    "ja": ["荷物はどこですか", "返品したいです", "PayPalで払えますか", "iPhone 15 Pro の保証期間は？"],
    "ko": ["내 택배 어디 있어요?", "환불"],
    "ru": ["Где моя посылка?", "как вернуть товар"],
    "uk": ["Я хочу повернути цей товар, бо він зламаний"],
    "ar": ["أين طردي؟"],
    "el": ["Πού είναι το πακέτο μου;"],
    "he": ["איפה החבילה שלי?"],
    "th": ["พัสดุของฉันอยู่ที่ไหน"],
}


@pytest.mark.parametrize(
    ("language", "text"), [(code, text) for code, texts in SAID.items() for text in texts]
)
def test_a_customers_question_tells_its_language(language, text):
    assert detect(text) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [("Hello!", "en"), ("thanks", "en"), ("Danke", "de"), ("merci", "fr"), ("gracias", "es"), ("谢谢", "zh")],
)
def test_a_telling_word_is_enough_when_nothing_is_known(text, language):
    assert detect(text) == language


@pytest.mark.parametrize("text", ["", "???", "👍", "12345", "iPhone 15", "<CREDIT_CARD_1>", "TX-500 XL"])
def test_what_tells_nothing_keeps_the_language_and_invents_none(text):
    assert detect(text) == ""
    assert detect(text, "fr") == "fr"


@pytest.mark.parametrize(
    ("text", "previous"),
    [
        ("ok", "de"),
        ("thanks!", "fr"),
        ("PayPal?", "es"),
        ("返品", "ja"),
        ("S24 Ultra", "zh"),
        ("Retoure", "en"),
    ],
)
def test_a_very_short_text_keeps_the_language(text, previous):
    assert detect(text, previous) == previous


@pytest.mark.parametrize(
    ("text", "previous", "language"),
    [
        ("Where is my parcel, please?", "de", "en"),
        ("Wo ist mein Paket?", "en", "de"),
        ("退款", "en", "zh"),
        ("ありがとう", "zh", "ja"),
        ("спасибо большое вам", "en", "ru"),
        ("Hello", "zh", "en"),
    ],
)
def test_a_customer_may_change_the_language(text, previous, language):
    assert detect(text, previous) == language


@pytest.mark.parametrize(
    "text",
    [
        'I got the message "Ihre Karte wurde leider abgelehnt", what does it mean?',
        "What does 'Rückgabe nicht mehr möglich' mean in my account",
        "What does 退款 mean?",
        "> Ihre Bestellung wurde storniert und wird nicht mehr geliefert\nWhy did I get this email?",
        "Why do I see „Die Zahlung wurde von Ihrer Bank nicht angenommen“ here?",
    ],
)
def test_a_quotation_is_not_what_the_customer_speaks(text):
    assert detect(text) == "en"


def test_a_text_that_is_all_quotation_speaks_for_itself():
    assert detect('"Wo ist mein Paket geblieben?"') == "de"


@pytest.mark.parametrize(
    "text",
    [
        "https://shop.example/wo-ist-mein-paket",
        "```\nprint('où est mon colis, je veux le retourner')\n```",
        "`wo ist mein paket`",
        "wo.ist.mein.paket@post.example",
        "<EMAIL_1> @kundenservice #bestellungen",
    ],
)
def test_code_links_and_placeholders_are_no_speech(text):
    assert detect(text, "en") == "en"
    assert detect(text) == ""


CONTRACT = "Der Vertrag beginnt am Tag der Unterzeichnung und endet nach zwei Jahren.\n" * 200


def test_around_a_pasted_text_the_question_tells():
    assert detect(f"Please summarise this contract for me.\n\n{CONTRACT}") == "en"
    assert detect(f"{CONTRACT}\n\nWhat is the notice period of this contract?") == "en"
    assert detect(CONTRACT) == "de"


def test_neither_torch_nor_pickle_is_needed():
    """The model must come from numpy arrays: a pickle could hold code."""
    program = (
        "import pickle, sys\n"
        "def refuse(*_, **__): raise AssertionError('a pickle was opened')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        "from engine.language.languages import detect\n"
        "assert detect('Wo ist mein Paket geblieben?') == 'de'\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
