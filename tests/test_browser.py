"""The web chat in a real browser, against a real `frontdesk up`."""

import os
import shutil

import pytest
from playwright.async_api import async_playwright, expect

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

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="no chromium here: apt-get install chromium"
)


@pytest.fixture
async def page(frontdesk_up):
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 390, "height": 844})
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        await page.goto(frontdesk_up.web_url)
        await expect(page.get_by_test_id("status")).to_contain_text("onnected", timeout=15_000)
        yield page
        await browser.close()


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
        "options": ["Returns?", "Gifts?"],
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
    await expect(stranger.get_by_test_id("status")).to_contain_text("onnected", timeout=15_000)
    assert await bubbles(stranger, "user").count() == 0
    await other.close()
