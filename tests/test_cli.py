"""The command line as people type it: real processes, a real Redis, the starter model."""

import asyncio
import json
import socket
import subprocess
import sys
import time

import aiohttp
import pytest
from discord_server import DiscordServer
from running import FrontdeskUp
from slack_server import SlackServer

from engine.library.library import SAMPLE_PAGES

RETURNS = "How long do I have to return something?"
CARD = "4111 1111 1111 1111"


def ask(running, text, *options):
    finished = running.run("ask", text, "--json", *options)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_up_says_what_runs_in_a_few_lines(frontdesk_up):
    said = [line for line in frontdesk_up.log.splitlines() if not line.startswith("20")]
    assert len(said) <= 10, said
    for part in ("frontdesk-starter", "quotations", "passages", f":{frontdesk_up.web_port}", "summarise"):
        assert part in frontdesk_up.log


def test_ask_answers_from_the_right_page_with_an_exact_quotation(frontdesk_up):
    answer = ask(frontdesk_up, RETURNS)
    assert set(answer) == {"answer", "decision", "confidence", "citations", "timings", "model"}
    assert answer["decision"] == "answer"
    assert "30 days" in answer["answer"]
    [citation, *_] = answer["citations"]
    assert citation["document"] == "returns.md"
    page = (SAMPLE_PAGES / "returns.md").read_text()
    assert page[citation["start"] : citation["end"]] == citation["quote"]


def test_ask_hands_over_what_the_pages_do_not_know(frontdesk_up):
    answer = ask(frontdesk_up, "Who won the 1998 World Cup?")
    assert (answer["decision"], answer["citations"]) == ("hand_over", [])


def test_ask_takes_earlier_turns_into_account(frontdesk_up, tmp_path):
    earlier = tmp_path / "turns.json"
    turns = [
        {"role": "user", "content": "How long is the warranty?"},
        {"role": "assistant", "content": "Two years."},
    ]
    earlier.write_text(json.dumps(turns))
    answer = ask(frontdesk_up, "and for lamps?", "--history", str(earlier))
    assert answer["citations"][0]["document"] == "warranty.md"


def test_ask_prints_text_and_source_for_people(frontdesk_up):
    finished = frontdesk_up.run("ask", RETURNS)
    assert finished.returncode == 0
    assert "30 days" in finished.stdout
    assert "returns.md" in finished.stdout


def test_piped_chat_answers_line_by_line(frontdesk_up):
    finished = frontdesk_up.run("chat", input="hello\nwhat are your opening hours?\n")
    assert finished.returncode == 0, finished.stderr
    assert "What can I help you with?" in finished.stdout
    assert "Monday to Friday" in finished.stdout
    assert finished.stdout.index("help you with") < finished.stdout.index("Monday")


def test_a_message_longer_than_the_context_is_told_how_long_it_may_be(frontdesk_up):
    finished = frontdesk_up.run("ask", "why is the parcel late " * 400)
    assert finished.returncode == 1
    assert "Please shorten it" in finished.stdout


def test_learn_reaches_the_running_engine_and_takes_the_place_of_the_samples(tmp_path):
    with FrontdeskUp(tmp_path) as running:
        running.wait_until_ready()
        learn_one_page(running, tmp_path)
        assert ask(running, RETURNS)["decision"] == "hand_over"


def learn_one_page(running, tmp_path):
    page = tmp_path / "parking.md"
    page.write_text(
        "# Parking\n\n## Where can I park my bicycle?\n\nBicycles can be parked behind the shop.\n"
    )
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\x00")
    learned = running.run("learn", str(page), str(tmp_path / "picture.png"))
    assert learned.returncode == 0
    assert "added" in learned.stdout
    assert "skipped   picture.png" in learned.stdout
    deadline = time.monotonic() + 15
    while True:
        answer = ask(running, "Where can I park my bicycle?")
        if answer["citations"] and answer["citations"][0]["document"] == "parking.md":
            return
        assert time.monotonic() < deadline, answer


def test_two_ups_on_one_data_folder_are_refused(frontdesk_up):
    second = frontdesk_up.run("up")
    assert second.returncode != 0
    assert "another `frontdesk up` is running" in second.stderr


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"FRONTDESK_REDIS_URL": "redis://user:hush@127.0.0.1:1/0"},
            "Redis cannot be reached at 127.0.0.1:1",
        ),
        ({"FRONTDESK_MODLE": "x"}, "unknown setting FRONTDESK_MODLE"),
        ({"FRONTDESK_ENGINE_PORT": "many"}, "FRONTDESK_ENGINE_PORT"),
        ({"FRONTDESK_MODEL": "/no/such/model"}, "no directory"),
        ({"FRONTDESK_ENGINE_HOST": "0.0.0.0"}, "FRONTDESK_ENGINE_KEY"),
        ({"FRONTDESK_MASTER_KEY": "short"}, "32 bytes"),
        ({"FRONTDESK_SLACK_BOT_TOKEN": "xoxb-1"}, "slack_app_token"),
    ],
)
def test_a_start_that_cannot_work_says_what_to_do(tmp_path, environment, expected):
    with FrontdeskUp(tmp_path, **environment) as running:
        assert running.process.wait(60) != 0
        assert expected in running.log
        assert "Traceback" not in running.log
        assert "hush" not in running.log


def test_a_port_in_use_is_named_with_its_setting(tmp_path):
    running = FrontdeskUp(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", running.web_port))
        taken.listen()
        finished = running.run("up")
    assert finished.returncode != 0
    assert f"port {running.web_port}" in finished.stderr
    assert "FRONTDESK_WEB_PORT" in finished.stderr


@pytest.mark.parametrize("children", [True, False], ids=["everything", "the supervisor alone"])
async def test_killed_between_message_and_reply_the_message_is_answered_once(tmp_path, children):
    """SIGKILL; what was not killed goes with its supervisor; the next start answers, exactly once."""
    with FrontdeskUp(tmp_path) as running:
        running.wait_until_ready()
        assert running.run("ask", "hello").returncode == 0  # the worker is at work
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(
            cookie_jar=jar, connector=aiohttp.TCPConnector(force_close=True)
        ) as browser:
            await (await browser.get(running.web_url)).read()
            sent = {"id": "kill-me-12345", "text": RETURNS}
            response = await browser.post(f"{running.web_url}/messages", json=sent)
            assert response.status == 202
            running.kill(children=children)
            wait_until_gone(running)
            running.start()
            running.wait_until_ready(times=2)
            again = await browser.post(f"{running.web_url}/messages", json=sent)
            assert again.status == 202
            turns = await history(browser, running, at_least=2)
            await (
                await browser.post(
                    f"{running.web_url}/messages", json={"id": "after-12345", "text": "thanks"}
                )
            ).read()
            turns = await history(browser, running, at_least=4)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    assert "30 days" in turns[1]["text"]


def wait_until_gone(running):
    """Until the killed one's engine, web page and Redis have followed it."""
    deadline = time.monotonic() + 15
    for port in (running.engine_port, running.web_port):
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        else:
            pytest.fail("a child outlived its killed supervisor")


async def history(browser, running, at_least):
    deadline = time.monotonic() + 30
    while True:
        found = (await (await browser.get(f"{running.web_url}/history")).json())["turns"]
        if len(found) >= at_least:
            return found
        assert time.monotonic() < deadline, found


def test_sigterm_ends_everything_within_ten_seconds_and_data_survives(tmp_path):
    with FrontdeskUp(tmp_path) as running:
        running.wait_until_ready()
        assert running.terminate() < 10
        assert running.process.returncode == 0
        wait_until_gone(running)
        # The same folder, no `up`: ask runs everything in its own process.
        answer = ask(running, RETURNS)
        assert answer["citations"][0]["document"] == "returns.md"


def test_a_card_number_appears_in_no_redis_value_no_log_and_no_prompt(tmp_path):
    """The customer gets it back; nothing that stays behind has it, in any spelling."""
    with FrontdeskUp(tmp_path, FRONTDESK_LOG_LEVEL="debug") as running:
        running.wait_until_ready()
        said = running.run(
            "chat", input=f"/draft My card {CARD} was charged twice.\nwhere is my refund for {CARD}?\n"
        )
        assert CARD in said.stdout, said.stdout + said.stderr
        running.terminate()
    stored = [path for path in running.folder.rglob("*") if path.is_file() and not path.is_socket()]
    assert any(path.suffix == ".aof" or "appendonly" in path.name for path in stored)
    for path in stored:
        content = path.read_bytes()
        for spelling in (CARD, CARD.replace(" ", ""), CARD.replace(" ", "-")):
            assert spelling.encode() not in content, path


async def test_up_serves_discord_and_slack_in_processes_of_their_own(tmp_path):
    async with DiscordServer() as discord, SlackServer() as slack:
        environment = {
            "FRONTDESK_DISCORD_TOKEN": discord.token,
            "FRONTDESK_DISCORD_API_URL": discord.rest_url,
            "FRONTDESK_DISCORD_GATEWAY_URL": discord.gateway_url,
            "FRONTDESK_SLACK_BOT_TOKEN": slack.bot_token,
            "FRONTDESK_SLACK_APP_TOKEN": slack.app_token,
            "FRONTDESK_SLACK_API_URL": slack.api_url,
        }
        with FrontdeskUp(tmp_path, **environment) as running:
            await asyncio.to_thread(running.wait_until_ready)
            await discord.wait_for(lambda s: s.connected, timeout=20)
            await slack.wait_for(lambda: slack.sockets, timeout=20)
            asked = await discord.say(discord.channel_id, RETURNS, mention_bot=True)
            question = await slack.say(slack.channel_id, RETURNS, mention=True)
            await discord.wait_for(
                lambda s: any("returns.md" in m["content"] for m in s.messages[s.channel_id]), timeout=20
            )
            posts = slack.messages[slack.channel_id]
            await slack.wait_for(lambda: any("returns.md" in json.dumps(m) for m in posts), timeout=20)
            assert await asyncio.to_thread(running.terminate) < 10
    [_, answer] = discord.messages[discord.channel_id]
    assert answer["message_reference"]["message_id"] == asked["id"]
    [reply] = [post for post in posts if post.get("bot_id")]
    assert reply["thread_ts"] == question["ts"]
    for token in (discord.token, slack.bot_token, slack.app_token):
        assert token not in running.log


def test_ask_without_a_running_frontdesk_tells_what_is_wrong_with_the_model(tmp_path):
    finished = FrontdeskUp(tmp_path, FRONTDESK_MODEL="/no/such/model").run("ask", RETURNS)
    assert finished.returncode != 0
    assert "no directory" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_an_empty_question_is_told(frontdesk_up):
    finished = frontdesk_up.run("ask", "  ")
    assert finished.returncode != 0
    assert "empty" in finished.stderr


def test_help_lists_the_commands():
    shown = subprocess.run(
        [sys.executable, "-m", "bots", "--help"], capture_output=True, text=True, check=True
    )
    for name in ("up", "chat", "ask", "learn", "engine", "worker", "discord", "slack", "train"):
        assert name in shown.stdout
