"""The web chat in a real browser: with a real `frontdesk up`, and with a test in the worker's place."""

import asyncio
import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect
from web_chat import Intake, serving

from bots.history import Turn
from bots.message import Change, Message, Part, Rating, Reply
from bots.platforms.web import create_app
from bots.platforms.web_page import page_words
from engine.types import Citation, TextFile

CHROMIUM = shutil.which("chromium")
# Chromium's own errands would be refused by a machine without network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# What can be pressed or read stands on nothing else of the kind.
OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll(".body, #log button, .download, .sources")]
    .map(node => [node, node.getBoundingClientRect()]);
  return boxes.flatMap(([a, p], row) => boxes.slice(row + 1)
    .filter(([b, q]) => !a.contains(b) && !b.contains(a)
    && p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1)
    .map(([b]) => `${a.className} over ${b.className}`));
}"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="no chromium here: apt-get install chromium"
)


@contextlib.asynccontextmanager
async def opened(url, **options):
    """A page of its own browser; what goes wrong in it is in `errors`."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 390, "height": 844}, **options)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        await page.goto(url)
        await is_connected(page)
        yield page
        await browser.close()


async def is_connected(page):
    await expect(page.get_by_test_id("status")).to_have_attribute("data-state", "connected", timeout=15_000)


@pytest.fixture
async def page(frontdesk_up):
    async with opened(frontdesk_up.web_url) as page:
        yield page


@pytest.fixture
async def intake(store):
    return Intake(store)


@pytest.fixture
async def address(store, intake):
    """The web chat without a worker: the test answers."""
    async with serving(create_app(intake, store.relay, store.history, store.vault)) as address:
        yield address


@pytest.fixture
async def chat(address):
    async with opened(address) as page:
        yield page


def bubbles(page, role):
    return page.locator(f'[data-testid="message"][data-role="{role}"]')


async def ask(page, text):
    count = await bubbles(page, "assistant").count()
    await page.get_by_test_id("input").fill(text)
    await page.get_by_test_id("send").click()
    answer = bubbles(page, "assistant").nth(count)
    await expect(answer).to_have_attribute("data-state", "done", timeout=30_000)
    return answer


async def test_a_question_gets_a_streamed_and_cited_answer(page, tmp_path):
    answer = await ask(page, "How long do I have to return something?")
    await expect(answer).to_contain_text("30 days")
    citation = page.get_by_test_id("citation").first
    await expect(citation).to_contain_text("returns.md")
    await citation.locator("summary").click()
    await expect(citation).to_contain_text("from the day of delivery")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    await page.screenshot(path=os.environ.get("CHAT_SCREENSHOT") or tmp_path / "chat.png")
    assert not page.errors


async def test_the_conversation_is_still_there_after_a_reload(page):
    await ask(page, "hello")
    await ask(page, "How do I reset my password?")
    await page.reload()
    await expect(bubbles(page, "assistant")).to_have_count(2, timeout=15_000)
    await expect(bubbles(page, "user").first).to_contain_text("hello")


async def test_what_was_meant_is_chosen_by_a_button(page):
    question = await ask(page, "discount")
    options = page.get_by_test_id("option")
    await expect(options.last).to_have_text("None of these")
    await expect(question.locator("li")).to_have_count(0)
    chosen, offered = await options.first.inner_text(), await options.count()
    await options.first.click()
    await expect(bubbles(page, "user").last).to_have_text(chosen)
    await expect(bubbles(page, "assistant").nth(1)).to_have_attribute("data-state", "done", timeout=30_000)
    await expect(page.get_by_test_id("citation").last).to_contain_text(chosen)
    await expect(options).to_have_count(0)
    await expect(question.locator("li")).to_have_count(offered)


async def test_a_note_beside_a_question_back_is_text_and_no_button(page):
    done = {
        "kind": "done",
        "turn": "one",
        "decision": "ask_back",
        "text": "Do you mean:\n1. Returns?\n2. Gifts?\n3. None of these\n\nphoto.png is no text.",
        "options": ["Returns?", "Gifts?", "None of these"],
    }
    await page.evaluate("event => onEvent(event)", done)
    options = page.get_by_test_id("option")
    assert await options.all_inner_texts() == ["Returns?", "Gifts?", "None of these"]
    await expect(bubbles(page, "assistant").last).to_contain_text("photo.png is no text.")


async def test_a_file_is_cited_by_its_lines(page):
    lines = [f"Day {number}: the {number} parcels were counted." for number in range(1, 41)]
    lines[30] = "The warehouse was closed because its roof leaked."
    file = {"name": "diary.txt", "mimeType": "text/plain", "buffer": "\n".join(lines).encode()}
    await page.get_by_test_id("file").set_input_files(file)
    await expect(page.locator("#chip-name")).to_have_text("diary.txt")
    await ask(page, "Why was the warehouse closed?")
    citation = page.get_by_test_id("citation").first
    await expect(citation).to_contain_text("diary.txt — line 31")
    await citation.locator("summary").click()
    await expect(citation).to_contain_text("because its roof leaked")


async def test_what_the_bot_says_is_never_markup(page):
    answer = await ask(page, "/draft <img src=x onerror=alert(1)> is sold out. <b>Really</b>.")
    await expect(answer).to_contain_text("<img src=x onerror=alert(1)>")
    assert await answer.locator("img").count() == 0
    assert not page.errors


async def test_two_browsers_do_not_see_each_other(page, frontdesk_up):
    await ask(page, "hello")
    other = await page.context.browser.new_context()
    stranger = await other.new_page()
    await stranger.goto(frontdesk_up.web_url)
    await is_connected(stranger)
    assert await bubbles(stranger, "user").count() == 0
    await other.close()


async def begin(chat, intake, text="How long can I return it?", said="You have thirty"):
    """Ask, and let the answer grow that far; the question as the worker has it."""
    await chat.get_by_test_id("input").fill(text)
    await chat.get_by_test_id("send").click()
    message = await intake.asked()
    await intake.sender.edit(message, message.id, said, is_growing=True)
    await expect(bubbles(chat, "assistant").last).to_contain_text(said)
    return message


async def finish(intake, message, text, **reply):
    """End the answer, as a worker does."""
    await intake.sender.finish(
        message, [Part(message.id, text)], Reply(text, **reply), reply.get("options", ())
    )


class TestStop:
    async def test_an_answer_that_grows_can_be_stopped(self, chat, intake):
        stop, send = chat.get_by_test_id("stop"), chat.get_by_test_id("send")
        await expect(stop).to_be_hidden()
        message = await begin(chat, intake)
        await expect(send).to_be_hidden()
        await stop.click()
        asker = message.author.id
        assert await intake.changed() == Change("stop", message.conversation, message.id, asker)
        await expect(stop).to_be_disabled()
        await finish(intake, message, "You have thirty (stopped)", decision="stopped")
        await expect(stop).to_be_hidden()
        await expect(send).to_be_visible()
        answer = bubbles(chat, "assistant").last
        await expect(answer).to_have_text("You have thirty (stopped)")
        await expect(answer).to_have_attribute("data-state", "done")
        await expect(chat.get_by_test_id("helpful")).to_have_count(0)
        assert not chat.errors

    async def test_of_two_the_first_is_stopped_and_more_can_be_asked(self, chat, intake):
        first = await begin(chat, intake, "one?")
        await chat.get_by_test_id("input").fill("two?")
        await chat.get_by_test_id("send").click()
        second = await intake.asked()
        for message in (first, second):
            await chat.get_by_test_id("stop").click()
            assert (await intake.changed()).message_id == message.id
            await finish(intake, message, "Stopped.", decision="stopped")
        await expect(chat.get_by_test_id("stop")).to_be_hidden()

    async def test_an_answer_that_began_before_a_reload_can_be_stopped(self, chat, intake):
        message = await begin(chat, intake)
        await chat.reload()
        await is_connected(chat)
        await intake.sender.edit(message, message.id, "You have thirty days", is_growing=True)
        await chat.get_by_test_id("stop").click()
        assert (await intake.changed()).message_id == message.id


class TestFeedback:
    async def test_the_last_press_counts_and_is_shown(self, chat, intake, store):
        message = await begin(chat, intake)
        await finish(intake, message, "You have thirty days.")
        helpful, not_helpful = chat.get_by_test_id("helpful"), chat.get_by_test_id("not-helpful")
        for button, is_helpful in ((helpful, True), (not_helpful, False)):
            await button.click()
            expected = Rating(message.conversation, message.id, message.author.id, is_helpful)
            assert await intake.rated() == expected
            await expect(button).to_have_attribute("aria-pressed", "true")
        await expect(helpful).to_have_attribute("aria-pressed", "false")
        await expect(bubbles(chat, "assistant").last).to_contain_text("Thank you")
        # And when the page is drawn again from the history
        asked = [
            Turn("user", message.text, message.author),
            Turn("assistant", "You have thirty days.", message.author),
        ]
        await store.history.append(message.conversation, asked)
        await chat.evaluate("resync()")
        await expect(not_helpful).to_have_attribute("aria-pressed", "true")

    async def test_what_is_no_answer_is_not_rated(self, chat, intake):
        for decision in ("command", "error", "refuse"):
            message = await begin(chat, intake, decision)
            await finish(intake, message, decision, decision=decision)
        await expect(bubbles(chat, "assistant").last).to_have_text("refuse")
        await expect(chat.get_by_test_id("helpful")).to_have_count(0)

    async def test_a_press_that_did_not_arrive_is_told_and_taken_back(self, chat, intake):
        message = await begin(chat, intake)
        await finish(intake, message, "You have thirty days.")
        await chat.route("**/feedback", lambda route: route.abort())
        await chat.get_by_test_id("helpful").click()
        await expect(chat.get_by_role("alert")).to_have_text(page_words("en")["web_unreachable"])
        await expect(chat.get_by_test_id("helpful")).to_have_attribute("aria-pressed", "false")


class TestChangedQuestions:
    async def test_an_edited_question_is_answered_in_the_same_place(self, chat, intake):
        message = await begin(chat, intake)
        await chat.get_by_test_id("input").fill("a draft")
        await chat.get_by_test_id("edit").click()
        field = chat.get_by_test_id("input")
        await expect(field).to_have_value("How long can I return it?")
        await field.fill("How much is it?")
        await field.press("Enter")
        asker = message.author.id
        expected = Change("edit", message.conversation, message.id, asker, "How much is it?")
        assert await intake.changed() == expected
        await expect(field).to_have_value("a draft")
        await expect(bubbles(chat, "user").last).to_contain_text("How much is it?")
        edited = dataclasses.replace(message, text="How much is it?")
        await intake.sender.edit(edited, message.id, "It is", is_growing=True)
        await finish(intake, edited, "It is nine euros.")
        await expect(bubbles(chat, "assistant")).to_have_text(["It is nine euros."])
        # An answered question offers no change: its text is all there is.
        await expect(bubbles(chat, "user")).to_have_text(["How much is it?"])
        assert intake.messages.empty()
        assert not chat.errors

    async def test_an_edit_that_came_too_late_is_asked_anew(self, chat, intake):
        message = await begin(chat, intake)
        await chat.get_by_test_id("edit").click()
        await chat.get_by_test_id("input").fill("How much is it?")
        await chat.get_by_test_id("send").click()
        await intake.changed()
        await finish(intake, message, "You have thirty days.")
        assert (await intake.asked()).text == "How much is it?"
        await expect(bubbles(chat, "user")).to_contain_text(["How long can I return it?", "How much is it?"])
        await expect(bubbles(chat, "assistant").first).to_have_text("You have thirty days.")

    async def test_an_edit_that_came_just_in_time_is_answered_in_the_same_place(self, chat, intake):
        message = await begin(chat, intake)
        await chat.get_by_test_id("edit").click()
        await chat.get_by_test_id("input").fill("How much is it?")
        await chat.get_by_test_id("send").click()
        await intake.changed()
        # A worker that learns of it while it finishes begins again.
        await finish(intake, message, "You have thirty days.")
        await finish(intake, dataclasses.replace(message, text="How much is it?"), "It is nine euros.")
        await expect(bubbles(chat, "assistant")).to_have_text(["It is nine euros."])
        await expect(bubbles(chat, "user")).to_have_text(["How much is it?"])

    async def test_what_is_still_in_the_input_when_the_answer_comes_is_a_new_question(self, chat, intake):
        message = await begin(chat, intake)
        await chat.get_by_test_id("edit").click()
        await finish(intake, message, "You have thirty days.")
        await expect(chat.locator("#editing-text")).to_have_text(page_words("en")["web_answered"])
        await chat.get_by_test_id("input").fill("How much is it?")
        await chat.get_by_test_id("send").click()
        assert (await intake.asked()).text == "How much is it?"
        assert intake.changes.empty()

    async def test_a_deleted_question_goes_with_its_answer(self, chat, intake):
        message = await begin(chat, intake)
        await chat.get_by_test_id("delete").click()
        assert (await intake.changed()).kind == "delete"
        await expect(bubbles(chat, "user")).to_be_hidden()
        await intake.sender.delete(message, message.id)
        await expect(bubbles(chat, "assistant")).to_be_hidden()
        await expect(chat.get_by_text(page_words("en")["web_welcome"])).to_be_visible()
        await expect(chat.get_by_test_id("stop")).to_be_hidden()

    async def test_a_question_that_was_answered_before_it_was_deleted_stays(self, chat, intake):
        message = await begin(chat, intake)
        await chat.get_by_test_id("delete").click()
        await expect(bubbles(chat, "user")).to_be_hidden()
        await finish(intake, message, "You have thirty days.")
        await expect(bubbles(chat, "user")).to_be_visible()
        await expect(bubbles(chat, "assistant")).to_have_text("You have thirty days.")


async def test_a_file_of_the_bots_can_be_downloaded(chat, intake):
    message = await begin(chat, intake)
    file = TextFile("answer.md", "# Zwölf <b>days</b>\n")
    for _ in range(2):  # a worker that took over sends it again
        await intake.sender.post_file(message, file, nonce="one", is_retry=False)
    await finish(intake, message, "Here it is.", decision="command")
    link = chat.get_by_test_id("download")
    await expect(link).to_have_count(1)
    async with chat.expect_download() as downloading:
        await link.click()
    download = await downloading.value
    assert download.suggested_filename == "answer.md"
    content = await asyncio.to_thread((await download.path()).read_bytes)
    assert content.decode() == file.text
    assert not chat.errors


async def test_what_the_bot_says_by_itself_stands_there_once(chat, intake):
    message = await begin(chat, intake)
    notice = Message("web:notice", message.conversation, message.author, "", True, notice="I am back.")
    for _ in range(2):
        await intake.sender.post(notice, notice.notice, nonce="n", is_retry=False, is_growing=False)
        await finish(intake, notice, notice.notice)
    await finish(intake, message, "You have thirty days.")
    await expect(bubbles(chat, "assistant")).to_contain_text(["You have thirty days.", "I am back."])
    await expect(chat.get_by_text("I am back.")).to_have_count(1)


async def test_only_web_addresses_become_links(chat, intake):
    text = (
        "[shop](https://shop.example/a?b=1) https://shop.example/c. [run](javascript:alert(1)) "
        "[data](data:text/html,x) ![pixel](https://evil.example/p.png) <a href=x>raw</a>"
    )
    message = await begin(chat, intake)
    await finish(intake, message, text)
    answer = bubbles(chat, "assistant").last
    await expect(answer).to_have_attribute("data-state", "done")
    links = await answer.locator("a").evaluate_all("all => all.map(a => [a.href, a.rel, a.target])")
    safe = ["noopener noreferrer nofollow", "_blank"]
    hrefs = ["https://shop.example/a?b=1", "https://shop.example/c", "https://evil.example/p.png"]
    assert links == [[href, *safe] for href in hrefs]
    assert await answer.locator("img").count() == 0
    await expect(answer).to_contain_text("<a href=x>raw</a>")


async def test_the_page_speaks_the_browsers_language(address, intake):
    words = page_words("de")
    async with opened(address, locale="de-AT") as page:
        await expect(page.get_by_role("heading", name=words["web_welcome"])).to_be_visible()
        await expect(page.get_by_test_id("status")).to_have_text(words["web_connected"])
        message = await begin(page, intake)
        citation = Citation("diary.txt", "", 0, 4, "Text", first_line=2, last_line=4)
        await finish(intake, message, "Dreißig Tage.", citations=(citation,))
        await expect(page.get_by_test_id("citation")).to_contain_text("Quelle: diary.txt — Zeilen 2 bis 4")
        await expect(page.get_by_test_id("helpful")).to_have_attribute("title", "Hilfreich")


async def test_everything_fits_on_a_phone(chat, intake, tmp_path):
    citations = (
        Citation("returns.md", "Returning something", 0, 9, "Within 30 days of delivery you may return it."),
    )
    first = await begin(chat, intake, "How long do I have to return something I bought?")
    await intake.sender.post_file(first, TextFile("label-for-the-parcel.txt", "x"), nonce="1", is_retry=False)
    await finish(
        intake,
        first,
        "You have **30 days**. See [returns](https://shop.example/returns).",
        citations=citations,
    )
    await chat.get_by_test_id("helpful").click()
    await chat.get_by_test_id("citation").locator("summary").click()
    second = await begin(chat, intake, "discount")
    options = ["Is there a discount for students?", "Can I combine discount codes?", "None of these"]
    listed = "\n".join(f"{number}. {option}" for number, option in enumerate(options, 1))
    await finish(
        intake,
        second,
        f"Is it one of these?\n\n{listed}",
        decision="ask_back",
        options=options,
    )
    await expect(chat.get_by_test_id("option")).to_have_count(3)
    await begin(chat, intake, "And how much is the postage to Austria?", "The postage is")
    await chat.get_by_test_id("edit").scroll_into_view_if_needed()
    assert await chat.evaluate("document.documentElement.scrollWidth") <= 390
    folder = Path(os.environ.get("CHAT_SCREENSHOTS") or tmp_path)
    for name, width, height in (("phone", 390, 1100), ("desk", 1100, 900)):
        await chat.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await chat.emulate_media(color_scheme=scheme)
            await chat.screenshot(path=folder / f"chat-{scheme}-{name}.png")
        assert not await chat.evaluate(OVERLAPS)
    assert not chat.errors
