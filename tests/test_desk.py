"""One turn, from message to reply: what is a command, what goes to the engine and with what."""

import pytest
from scripted import ANNA, BEN, ScriptedEngine, conversation, message

from bots.build import load_plugins
from bots.desk import Desk
from bots.history import Turn
from bots.message import Attachment
from bots.settings import Settings
from engine.errors import BadRequest, Unavailable
from engine.types import Citation, Outcome, TextFile

PICTURE = Attachment("photo.png", problem="not_text")
PICTURE_PROBLEM = "I can only read texts, web pages and PDFs; photo.png is something else."


@pytest.fixture
def ask(store):
    """Have a message answered: the pieces, and the reply."""

    async def answered(question, engine):
        desk = Desk(engine, store.history, store.summaries, store.privacy, load_plugins(Settings()))
        *pieces, reply = [piece async for piece in desk.answer(question)]
        return pieces, reply

    return answered


async def test_an_answer_comes_in_pieces_and_then_whole(ask):
    citation = Citation("help.md", "Returns", 0, 4, "text")
    outcome = Outcome("answer", 0.75, (citation,), model="tiny", timings={"total_ms": 2.0})
    pieces, reply = await ask(message(), ScriptedEngine("You have 30 days.", outcome=outcome))
    assert pieces == ["You ", "have ", "30 ", "days."]
    assert (reply.text, reply.decision, reply.confidence) == ("You have 30 days.", "answer", 0.75)
    assert (reply.citations, reply.model, reply.timings) == ((citation,), "tiny", {"total_ms": 2.0})


@pytest.mark.parametrize("text", ["", "  \n "])
async def test_an_empty_message_gets_the_help(ask, text):
    engine = ScriptedEngine()
    _, reply = await ask(message(text), engine)
    assert "/summarise" in reply.text
    assert (reply.decision, engine.requests) == ("command", [])


async def test_an_unknown_command_is_not_sent_to_the_engine(ask):
    engine = ScriptedEngine()
    _, reply = await ask(message("/helpp me"), engine)
    assert "`/helpp`" in reply.text and "/help" in reply.text
    assert (reply.decision, engine.requests) == ("error", [])


async def test_a_path_is_no_command(ask):
    engine = ScriptedEngine()
    await ask(message("/usr/bin is full, what now?"), engine)
    assert engine.asked == ["/usr/bin is full, what now?"]


async def test_a_message_that_the_engine_refuses_is_answered_with_the_reason(ask):
    _, reply = await ask(message(), ScriptedEngine(BadRequest("This message is too long.")))
    assert (reply.text, reply.decision) == ("This message is too long.", "error")


async def test_an_engine_that_is_away_is_the_callers_affair(ask):
    with pytest.raises(Unavailable):
        await ask(message(), ScriptedEngine(Unavailable("starting")))


async def test_the_text_of_a_file_goes_along(ask):
    engine = ScriptedEngine()
    await ask(message("What does it say?", attachments=["All about returns."]), engine)
    assert engine.asked == ["What does it say?"]
    assert engine.requests[0].files == (TextFile("notes.txt", "All about returns."),)


async def test_a_file_alone_is_a_message(ask):
    engine = ScriptedEngine()
    await ask(message("", attachments=["Is this right?"]), engine)
    assert engine.asked == [""]
    assert engine.requests[0].files == (TextFile("notes.txt", "Is this right?"),)


async def test_a_file_that_cannot_be_read_is_told_alone(ask):
    engine = ScriptedEngine()
    _, reply = await ask(message("", attachments=[PICTURE]), engine)
    assert (reply.text, reply.decision, engine.requests) == (PICTURE_PROBLEM, "error", [])


async def test_a_file_that_cannot_be_read_is_told_below_the_answer(ask):
    engine = ScriptedEngine("It is.")
    _, reply = await ask(message("Is it?", attachments=[PICTURE, "readable"]), engine)
    assert reply.text == f"It is.\n\n{PICTURE_PROBLEM}"
    assert engine.requests[0].files == (TextFile("notes.txt", "readable"),)


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ("answer", f"{PICTURE_PROBLEM}\n\nIt is."),
        ("hand_over", PICTURE_PROBLEM),
        ("ask_back", f"It is.\n\n{PICTURE_PROBLEM}"),
    ],
)
async def test_where_no_file_could_be_read_that_is_told_first_or_instead_of_a_hand_over(ask, decision, told):
    engine = ScriptedEngine("It is.", outcome=Outcome(decision=decision))
    pieces, reply = await ask(message("Is it?", attachments=[PICTURE]), engine)
    assert (pieces, reply.text, reply.decision) == ([], told, decision)


@pytest.fixture
async def earlier(store):
    turns = [Turn("user", "Hello", ANNA), Turn("assistant", "Hi!", ANNA), Turn("user", "And me?", BEN)]
    await store.history.append(conversation(), turns)


async def test_in_a_channel_the_engine_sees_who_said_what(ask, earlier):
    engine = ScriptedEngine()
    await ask(message("So?"), engine)
    turns = [(turn.role, turn.content) for turn in engine.requests[0].turns]
    assert turns[:-1] == [("user", "Anna: Hello"), ("assistant", "Hi!"), ("user", "Ben: And me?")]
    assert engine.requests[0].conversation == str(conversation())


async def test_in_private_no_names_are_told(ask, earlier):
    engine = ScriptedEngine()
    await ask(message("So?", is_private=True), engine)
    assert [turn.content for turn in engine.requests[0].turns] == ["Hello", "Hi!", "And me?", "So?"]


async def test_the_engine_sees_only_the_conversation_itself(ask, earlier):
    engine = ScriptedEngine()
    await ask(message("So?", channel="elsewhere"), engine)
    assert engine.asked == ["So?"]
    assert len(engine.requests[0].turns) == 1


async def test_a_job_that_is_gone_says_nothing(ask):
    _, reply = await ask(message("", job="removed"), ScriptedEngine())
    assert (reply.text, reply.decision) == ("", "command")
