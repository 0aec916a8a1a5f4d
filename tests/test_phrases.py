"""The bot's own words: complete and alike in every language, and English for everybody else."""

import re
import string
import tomllib
from pathlib import Path

import pytest
from scripted import ANNA, BEN, ScriptedEngine, conversation, message

import engine.language.phrases
from bots.build import load_plugins
from bots.desk import Desk
from bots.history import Turn
from bots.settings import Settings
from engine.errors import ContextTooLong
from engine.language.languages import NAMES
from engine.language.phrases import LANGUAGES, based_on, language_name, say

FOLDER = Path(engine.language.phrases.__file__).parents[1] / "data" / "phrases"
FILES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.toml")}


def flat(phrases, prefix=""):
    """Every text of a file by its dotted key."""
    for key, value in phrases.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def placeholders(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_has_its_file():
    assert set(FILES) == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_files_have_the_same_keys_with_the_same_placeholders(language):
    english, ours = dict(flat(FILES["en"])), dict(flat(FILES[language]))
    assert list(ours) == list(english)
    one_says_more = {key for key in english if key.endswith(".one")}  # "one passage" needs no number
    for key in set(english) - one_says_more:
        assert placeholders(ours[key]) == placeholders(english[key]), key
    for key in one_says_more:
        assert placeholders(ours[key]) <= placeholders(ours[key.replace(".one", ".other")]), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_phrase_is_empty_or_left_in_english(language):
    for key, text in flat(FILES[language]):
        assert text == text.strip() or key == "comma", key
        if language != "en" and len(text) > 20:
            assert text != dict(flat(FILES["en"]))[key], key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_that_is_told_apart_has_a_name(language):
    assert set(FILES[language]["languages"]) == set(NAMES)


def test_english_names_are_those_that_the_model_is_told():
    assert FILES["en"]["languages"] == NAMES


def test_every_phrase_that_the_code_says_exists():
    root = Path(engine.language.phrases.__file__).parents[2]
    asked = re.compile(r"""\b(?:say|_said|Misused)\(\s*["'](\w+)["']|\bproblem="(\w+)\"""")
    said = {
        found[1] or found[2]
        for folder in ("bots", "engine", "plugins")
        for path in (root / folder).rglob("*.py")
        for found in asked.finditer(path.read_text(encoding="utf-8"))
    }
    assert len(said) > 20
    assert said <= set(FILES["en"])


def test_a_language_without_phrases_is_spoken_to_in_english():
    assert say("thanks", "it") == say("thanks", "") == say("thanks", "en")


def test_a_value_with_braces_stays_as_it_is():
    assert "`{name}`" in say("command_unknown", "en", name="{name}")


def test_a_missing_value_is_an_error():
    with pytest.raises(KeyError):
        say("greeting", "en")


def test_one_thing_is_not_told_as_many():
    assert say("passages", "en", count=1) == "one passage"
    assert say("passages", "en", count=2) == "2 passages"


def test_a_language_is_called_by_its_name_in_another():
    assert say("quoted_in", "en", language=language_name("de", "en")) == "The source is in German:"
    assert say("quoted_in", "de", language=language_name("en", "de")) == "Die Quelle ist auf Englisch:"
    assert language_name("xx", "fr") == "xx"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((3, 12), "Based on 3 passages and your last 12 messages"),
        ((1, 1), "Based on one passage and your last message"),
        ((2, 0), "Based on 2 passages"),
        ((0, 4), "Based on your last 4 messages"),
        ((0, 0), ""),
    ],
)
def test_what_an_answer_rests_on_is_told_in_one_line(told, expected):
    assert based_on(*told, "en") == expected


def test_a_summary_is_told_too():
    line = based_on(2, 6, "en", is_summary_used=True)
    assert line == "Based on 2 passages, your last 6 messages and a summary of what we said before"
    assert based_on(2, 6, "ja", is_summary_used=True).count("、") == 1


class TestInTheCustomersLanguage:
    """What the bot says around an answer."""

    @pytest.fixture
    def ask(self, store):
        async def answered(question, engine=None):
            desk = Desk(
                engine or ScriptedEngine("Gern."),
                store.history,
                store.summaries,
                store.privacy,
                load_plugins(Settings()),
            )
            *_, reply = [piece async for piece in desk.answer(question)]
            return reply

        return answered

    @pytest.fixture
    async def a_german_customer(self, store):
        turns = [Turn("user", "Wo ist mein Paket?", ANNA), Turn("assistant", "Unterwegs.", ANNA)]
        await store.history.append(conversation(), turns)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("/hepl", say("command_unknown", "de", name="/hepl")),
            ("/forget-me", say("nothing_stored", "de")),
        ],
    )
    async def test_a_command_is_answered_in_the_language_spoken_so_far(
        self, ask, a_german_customer, text, expected
    ):
        reply = await ask(message(text))
        assert reply.language == "de"
        assert reply.text == expected

    async def test_the_help_is_introduced_in_it(self, ask, a_german_customer):
        assert (await ask(message(""))).text.startswith(say("help", "de"))
        assert (await ask(message("/help"))).text.startswith(say("help", "de"))

    async def test_another_customers_language_is_not_taken(self, ask, a_german_customer):
        reply = await ask(message("/hepl", author=BEN))
        assert reply.text == say("command_unknown", "en", name="/hepl")

    async def test_a_wrong_argument_is_told_in_it(self, ask, a_german_customer):
        reply = await ask(message("/draft"))
        assert reply.text == say("argument_missing", "de", name="notes", usage="/draft <notes>")

    async def test_a_message_that_is_too_long_is_told_in_it_without_tokens(self, ask):
        engine = ScriptedEngine(ContextTooLong(tokens=9000, limit=1000))
        reply = await ask(message("¿Dónde está mi pedido?"), engine)
        assert reply.text == say("too_long", "es", characters=3000)

    async def test_the_engine_is_told_the_language(self, ask, a_german_customer):
        engine = ScriptedEngine("Gern.")
        await ask(message("ok"), engine)
        await ask(message("Où est mon colis, s'il vous plaît ?"), engine)
        assert [request.language for request in engine.requests] == ["de", "fr"]
