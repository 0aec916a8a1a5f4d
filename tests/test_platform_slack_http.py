"""HTTP mode: signatures, replays, Redis away, and several workspaces by OAuth."""

import asyncio
import io
import json
import re
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from running import background, free_port
from slack_receiver import KeptPulse, Recorder, receiver_for, settings_for
from slack_sdk.oauth.installation_store import Bot, Installation
from slack_server import SlackServer

from bots.errors import StartError
from bots.platforms.slack import open_sender
from bots.platforms.slack.http import HttpServer
from bots.platforms.slack.installations import Installations, OAuthStates
from bots.pulse import Pulse

# slack_sdk 3.47 with aiohttp 3.14.
pytestmark = pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
OTHER = {"team_id": "T200", "authorizations": [{"team_id": "T200", "is_enterprise_install": False}]}


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


@pytest.fixture
def intake():
    return Recorder()


@asynccontextmanager
async def serving(server, store, intake=None, **changes):
    """A receiver by HTTP; its address."""
    port = free_port()
    http = {"slack_app_token": None, "slack_signing_secret": server.signing_secret, "slack_port": port}
    url = f"http://127.0.0.1:{port}"
    async with background(receiver_for(server, store, intake, **{**http, **changes}).run_forever()):
        async with aiohttp.ClientSession() as session:
            for _ in range(500):
                try:
                    await session.get(f"{url}/health")
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)
        yield url


def direct(server, text, ts="1.1"):
    event = {"type": "message", "channel": "D100", "channel_type": "im", "user": server.user_id}
    return server._outer({**event, "text": text, "ts": ts})


async def test_events_commands_and_clicks_come_by_http(server, store, intake):
    async with serving(server, store, intake) as url:
        events = f"{url}/slack/events"
        answer = await server.post_event(events, {"type": "url_verification", "challenge": "abc"})
        assert answer.status == 200 and "abc" in answer.text
        assert (await server.post_event(events, direct(server, "one"))).status == 200
        command = server.slash_fields("/ask", "two", server.channel_id)
        action = {"action_id": "frontdesk_option_1", "value": "three", "action_ts": "17.5"}
        click = server.action_body({"actions": [action], "message": {"ts": "9.9", "thread_ts": "9.5"}})
        for body in (command, click, command, click):
            assert (await server.post_form(events, body))[0] == 200
    assert intake.texts == ["one", "two", "three"]  # the same again is the same


async def test_a_form_comes_by_http_once(server, store, intake):
    async with serving(server, store, intake) as url:
        fields = server.slash_fields("/ask", "", server.channel_id)
        assert (await server.post_form(f"{url}/slack/events", fields))[0] == 200
        await server.wait_for(lambda: server.views)
        body = server.submission(server.views.popitem()[1], {"question": "why?"})
        for _ in range(2):
            assert (await server.post_form(f"{url}/slack/events", body))[0] == 200
    assert intake.texts == ["why?"]


@pytest.mark.parametrize(
    "how",
    [
        {"secret": "wrong"},
        {"late": 301},
        {"late": -302},
        {"timestamp": "abc"},
        {"timestamp": "9" * 400},
        {"headers": {"X-Slack-Signature": None}},
        {"headers": {"X-Slack-Signature": ""}},
        {"headers": {"X-Slack-Signature": "v0=\u00e9"}},
        {"headers": {"X-Slack-Request-Timestamp": None}},
        {"sent": json.dumps({"type": "url_verification", "challenge": "changed"})},
        {"sent": b"\xff\xfe"},
        {"sent": "ssl_check=1&token=verification"},
    ],
    ids=lambda how: "-".join(f"{key}={str(value)[:30]}" for key, value in how.items()),
)
async def test_what_slack_did_not_sign_now_is_refused(server, store, how):
    async with serving(server, store) as url:
        body = json.dumps(direct(server, "let me in"))
        if late := how.get("late"):
            how = {"timestamp": int(time.time()) - late}
        kind = "application/x-www-form-urlencoded" if "ssl" in str(how) else "application/json"
        status, _ = await server.post_signed(f"{url}/slack/events", body, kind, **how)
    assert status == 401
    assert await store.inbox.backlog() == 0


async def test_a_signed_body_in_the_window_is_taken_and_its_replay_is_not(server, store):
    async with serving(server, store) as url:
        body = json.dumps(direct(server, "mine"))
        for age in (0, 0, 250, -250):
            signed = {"timestamp": int(time.time()) - age}
            answer = await server.post_signed(f"{url}/slack/events", body, "application/json", **signed)
            assert answer[0] == 200
    assert await store.inbox.backlog() == 1


async def test_a_body_larger_than_slacks_is_not_read(server, store):
    async with serving(server, store) as url:
        large = io.BytesIO(b"x" * (2**20 + 1))
        status, _ = await server.post_signed(f"{url}/slack/events", "", "application/json", sent=large)
    assert status == 413


async def test_without_redis_slack_is_told_to_come_again(server, store):
    """By a retry header, which must not make us think that it was taken."""
    intake = Recorder(RedisConnectionError("away"))
    async with serving(server, store, intake) as url:
        body = direct(server, "are you there?")
        assert (await server.post_event(f"{url}/slack/events", body)).status == 503
        assert (await server.post_event(f"{url}/slack/events", body, retry=1)).status == 200
    assert intake.texts == ["are you there?"]


async def test_while_redis_hangs_slack_is_told_so_within_a_second_and_nothing_is_lost_or_doubled(
    server, store
):
    async with serving(server, store) as url:
        body, started = direct(server, "are you there?"), time.monotonic()
        await store.redis.execute_command("CLIENT", "PAUSE", 1200)
        assert (await server.post_event(f"{url}/slack/events", body)).status == 503
        assert time.monotonic() - started < 1
        await store.redis.ping()
        for retry in (1, 2):
            assert (await server.post_event(f"{url}/slack/events", body, retry=retry)).status == 200
    assert await store.inbox.backlog() == 1


async def test_the_connection_stands_while_it_listens_and_counts_signed_events(server, store, intake):
    pulse = KeptPulse()
    async with serving(server, store, intake, pulse=pulse) as url:
        await server.post_event(f"{url}/slack/events", direct(server, "one"))
        await server.post_event(f"{url}/slack/events", direct(server, "two"), secret="wrong")
    assert (pulse.told, pulse.events) == (["connected"], 1)


async def test_it_does_not_start_without_a_secret_or_on_a_port_in_use(server, store, settings):
    with pytest.raises(StartError, match="SLACK_SIGNING_SECRET"):
        receiver_for(server, store, **oauth(server, slack_app_token=None))
    with pytest.raises(StartError, match="empty"):
        HttpServer("127.0.0.1", 0, Pulse(store.redis, "slack"), " ", None)
    async with serving(server, store) as url:
        port = int(url.rpartition(":")[2])
        other = receiver_for(server, store, slack_app_token=None, slack_signing_secret="s", slack_port=port)
        with pytest.raises(StartError, match="FRONTDESK_SLACK_PORT"):
            await other.run_forever()


def oauth(server, **changes):
    """Settings for several workspaces."""
    mine = {"slack_client_id": server.client_id, "slack_client_secret": server.client_secret}
    return {"slack_bot_token": None, "public_url": "https://desk.example", **mine, **changes}


async def install(server, url, *, cookie=True, **where):
    """Somebody installs the app, as a browser would: the last page's status."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as browser:
        async with browser.get(f"{url}/slack/install") as page:
            assert page.status == 200
            link = re.search(r'href="(https://slack[^"]+)"', await page.text())[1].replace("&amp;", "&")
            state = page.cookies["slack-app-oauth-state"].value
        back = server.approve(link, **where).replace("https://desk.example", url)
        cookies = {"slack-app-oauth-state": state} if cookie else {}
        async with browser.get(back, cookies=cookies) as page:
            first = page.status
        async with browser.get(back, cookies=cookies) as page:
            assert page.status != 200  # a state is good for one installation
        return first


async def test_two_workspaces_install_the_app_and_each_is_answered_with_its_own_token(server, store, intake):
    async with serving(server, store, intake, **oauth(server)) as url:
        assert await install(server, url, team="T100") == 200
        assert await install(server, url, team="T200") == 200
        events = f"{url}/slack/events"
        assert (await server.post_event(events, direct(server, "one"))).status == 200
        other = {**direct(server, "<@UBOTT200> two"), **OTHER}
        assert (await server.post_event(events, other)).status == 200
        unknown = {**direct(server, "three"), "authorizations": [{"team_id": "T300"}], "team_id": "T300"}
        await server.post_event(events, unknown)
        revoked = server._outer({"type": "tokens_revoked", "tokens": {"bot": ["UBOTT200"]}})
        assert (await server.post_event(events, {**revoked, **OTHER})).status == 200
        await server.post_event(events, {**direct(server, "four"), **OTHER})
    assert [(found.conversation.workspace, found.text) for found in intake.messages] == [
        ("T100", "one"),
        ("T200", "two"),
    ]
    installations = Installations(store.redis, store.envelope)
    token = await installations.token_for(None, "T100")
    assert server.installed[token]["team_id"] == "T100"
    assert await installations.token_for(None, "T200") is None
    raw = [await store.redis.hgetall(key) for key in await store.redis.keys("frontdesk:slack:install*")]
    assert len(raw) == 1 and token.encode() not in b"".join(raw[0].values())


async def test_an_organisation_installs_the_app_for_all_its_workspaces(server, store, intake):
    grid = {"enterprise_id": "E1", "team_id": None, "is_enterprise_install": True}
    async with serving(server, store, intake, **oauth(server)) as url:
        assert await install(server, url, enterprise="E1") == 200
        body = {**direct(server, "hello"), "enterprise_id": "E1", "team_id": "T7", "authorizations": [grid]}
        assert (await server.post_event(f"{url}/slack/events", body)).status == 200
        gone = server._outer({"type": "app_uninstalled"}) | {"enterprise_id": "E1", "authorizations": [grid]}
        (message,) = intake.messages
        assert message.conversation.workspace == "T7"
        assert message.address["enterprise"] == "E1"
        installations = Installations(store.redis, store.envelope)
        assert await installations.token_for("E1", "T7") in server.installed
        assert (await server.post_event(f"{url}/slack/events", gone)).status == 200
        assert await installations.token_for("E1", "T7") is None


async def test_the_settings_token_serves_its_own_workspace_beside_installed_ones(server, store, intake):
    """A workspace in an organisation that installed the app by itself needs no name of the organisation."""
    own = oauth(server, slack_bot_token=server.bot_token)
    async with serving(server, store, intake, **own) as url:
        grid = {"enterprise_id": "E1", "is_enterprise_install": False}
        for team in ("T100", "T300"):
            body = {**direct(server, team), "team_id": team, "authorizations": [{**grid, "team_id": team}]}
            await server.post_event(f"{url}/slack/events", body)
    (message,) = intake.messages
    assert (message.text, message.address) == ("T100", {})


async def test_another_browser_cannot_finish_an_installation(server, store):
    async with serving(server, store, **oauth(server)) as url:
        assert await install(server, url, cookie=False, team="T100") == 400
    assert not server.installed


async def test_with_socket_mode_only_installations_are_served(server, store, intake):
    sockets = oauth(server, slack_app_token=server.app_token)
    async with serving(server, store, intake, **sockets) as url:
        assert await install(server, url, team="T100") == 200
        assert (await server.post_event(f"{url}/slack/events", direct(server, "one"))).status == 404
        await server.wait_for(lambda: server.sockets)
        await server.say(server.dm_channel_id, "two")
        await server.delivered()
    assert intake.texts == ["two"]


async def test_several_workspaces_need_a_public_address(server, store):
    with pytest.raises(StartError, match="FRONTDESK_PUBLIC_URL"):
        receiver_for(server, store, **oauth(server, public_url=None))


async def test_a_sender_finds_each_workspaces_token(server, store):
    installations = Installations(store.redis, store.envelope)
    await installations.async_save_bot(bot("xoxb-one", team_id="T1"))
    await installations.async_save_bot(
        bot("xoxb-org", enterprise_id="E1", team_id=None, is_enterprise_install=True)
    )
    settings = settings_for(server, **oauth(server, slack_signing_secret="s", slack_app_token=None))
    sender = await open_sender(settings, store)
    find = sender._calls._token_of
    assert [await find("T1", ""), await find("T1", "E9"), await find("T5", "E1")] == [
        "xoxb-one",
        "xoxb-one",
        "xoxb-org",
    ]
    assert await find("T5", "") is None
    await sender.close()


def bot(token, **changes):
    about = {"bot_id": "B1", "bot_user_id": "U1", "bot_scopes": ["chat:write"], "installed_at": 1.5}
    return Bot(bot_token=token, **about, **changes)


async def test_the_installation_store_keeps_and_drops_every_kind(store):
    kept = Installations(store.redis, store.envelope)
    place = {"enterprise_id": "E1", "team_id": "T1"}
    for user in ("U1", "U2"):
        about = {"bot_token": "xoxb-1", "bot_id": "B1", "bot_user_id": "UBOT", "bot_scopes": ["a", "b"]}
        await kept.async_save(Installation(app_id="A1", user_id=user, **about, **place))
    found = await kept.async_find_installation(**place)
    assert (found.user_id, found.bot_token, found.bot_scopes) == ("U2", "xoxb-1", ["a", "b"])
    assert (await kept.async_find_installation(**place, user_id="U1")).user_id == "U1"
    # A workspace that is looked up without its organisation, or before it joined it, is the same.
    assert (await kept.async_find_bot(enterprise_id=None, team_id="T1")).bot_user_id == "UBOT"
    assert await kept.async_find_bot(**place, is_enterprise_install=True) is None
    await kept.async_delete_installation(**place, user_id="U1")
    assert await kept.async_find_installation(**place, user_id="U1") is None
    await kept.async_delete_bot(**place)
    assert await kept.async_find_bot(**place) is None
    assert await kept.async_find_installation(**place)
    await kept.async_delete_installation(**place)
    assert await kept.async_find_installation(**place) is None
    await kept.async_save_bot(bot("xoxb-3", **{**place, "team_id": "T9"}, is_enterprise_install=True))
    assert await kept.token_for("E1", "T7") == "xoxb-3"
    await kept.async_delete_all(enterprise_id="E1", team_id=None)
    await kept.async_save_bot(bot("xoxb-2", **place))
    await kept.async_delete_all(**place)
    assert not await store.redis.keys("frontdesk:slack:*")


async def test_an_installation_moved_to_another_workspace_does_not_open(store):
    kept = Installations(store.redis, store.envelope)
    await kept.async_save_bot(bot("xoxb-1", team_id="T1"))
    (key,) = await store.redis.keys("frontdesk:slack:installation:*")
    await store.redis.rename(key, key.replace(b"T1", b"T2"))
    assert await kept.token_for(None, "T2") is None


async def test_a_state_is_good_once_and_only_from_here(store):
    states = OAuthStates(store.redis, store.envelope)
    state = await states.async_issue()
    (key,) = await store.redis.keys("frontdesk:slack:state:*")
    assert state.encode() not in key + await store.redis.get(key)
    assert 0 < await store.redis.ttl(key) <= 600
    assert not await states.async_consume("made-up")
    assert await states.async_consume(state)
    assert not await states.async_consume(state)
