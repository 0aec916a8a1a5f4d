"""`frontdesk doctor`: each finding against the real thing, and no secret in any of them."""

import asyncio
import contextlib
import json
import stat
import subprocess
import sys

import discord
import pytest
import typer
from discord_server import DiscordServer
from redis.asyncio import Redis
from slack_server import SlackServer
from typer.testing import CliRunner

from bots.build import load_plugins
from bots.doctor import examine
from bots.doctor_cli import doctor
from bots.doctor_discord import invite_link
from bots.doctor_slack import slack_manifest
from bots.redis_server import start_server, stop
from bots.registry import Registry
from bots.settings import Settings, load_settings, secret

PROGRAM = "import typer; from bots.doctor_cli import doctor; typer.run(doctor)"


async def found(area, **settings):
    """What is said of one area, as (level, text and what to do)."""
    settings = Settings(**{"engine_url": "http://127.0.0.1:1", **settings})
    findings = [finding async for finding in examine(settings)]
    return [(each.level, f"{each.text} → {each.todo}") for each in findings if each.area == area]


def levels(findings):
    return [level for level, _ in findings]


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory):
    """A Redis that these tests may set as they like: its URL."""
    folder = tmp_path_factory.mktemp("redis")
    process = start_server(folder, folder / "redis.sock")
    yield f"unix://{folder}/redis.sock"
    stop(process)


@contextlib.asynccontextmanager
async def configured(url, **options):
    """Redis with these options, for a while."""
    async with Redis.from_url(url) as client:
        names = [name.replace("_", "-") for name in options]
        before = {name: (await client.config_get(name))[name] for name in names}
        for name, value in zip(names, options.values(), strict=True):
            await client.config_set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                await client.config_set(name, value)


@pytest.fixture
def command(monkeypatch):
    """Run `frontdesk doctor` in this process: its exit status and what it printed."""
    monkeypatch.setenv("FRONTDESK_ENGINE_PORT", "1")
    app = typer.Typer()
    app.command()(doctor)

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, result.output

    return run


def test_on_a_fresh_machine_nothing_is_wrong_and_nothing_is_made(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--json"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    findings = json.loads(ended.stdout)["findings"]
    assert {each["area"] for each in findings} >= {"settings", "data folder", "redis", "engine", "plugins"}
    assert {each["level"] for each in findings} <= {"ok", "warning"}
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_setting_is_named(command, monkeypatch):
    monkeypatch.setenv("FRONTDESK_DISCORD_TOKN", "x")
    status, said = command()
    assert status == 1
    assert "FRONTDESK_DISCORD_TOKN" in said
    assert json.loads(command("--json")[1])["findings"][0]["level"] == "wrong"


def test_what_is_wrong_comes_with_what_to_do_and_a_status(command, monkeypatch):
    monkeypatch.setenv("FRONTDESK_STAFF_CHANNEL", "discord:1234567890123456789")
    status, said = command()
    assert status == 1
    assert "wrong   staff_channel" in said
    assert "→ give discord a token" in said


async def test_a_model_that_is_not_there_and_a_remote_without_address_are_named(tmp_path):
    [_, (level, said)] = await found("settings", model=str(tmp_path / "model"))
    assert (level, "FRONTDESK_MODEL" in said) == ("wrong", True)
    assert ("wrong", "generator = remote without a server → set FRONTDESK_REMOTE_URL") in await found(
        "settings", generator="remote"
    )


async def test_a_data_folder_is_checked_for_who_may_enter_and_write(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    assert levels(await found("data folder", data_dir=folder)) == ["ok"]
    key = folder / "master.key"
    key.write_text("too short")
    key.chmod(0o644)
    [(level, said)] = await found("data folder", data_dir=folder)
    assert (level, f"chmod 600 {key}" in said) == ("warning", True)
    assert levels(await found("master key", data_dir=folder)) == ["wrong"]
    folder.chmod(folder.stat().st_mode | stat.S_IRGRP)
    assert levels(await found("data folder", data_dir=folder)) == ["warning"]
    assert levels(await found("data folder", data_dir=key / "inside")) == ["wrong"]


async def test_a_broken_plugin_is_named_and_the_others_are_listed(tmp_path):
    plugin = tmp_path / "tickets.py"
    plugin.write_text("def broken(:\n")
    (level, said), (other, commands) = await found("plugins", plugins=(str(plugin),))
    assert (level, other) == ("wrong", "ok")
    assert f"{plugin}, line 1" in said
    assert "help" in commands


async def test_a_redis_that_keeps_every_message_is_all_right(own_redis):
    assert levels(await found("redis", redis_url=own_redis)) == ["ok"]


@pytest.mark.parametrize(
    ("options", "level", "todo"),
    [
        ({"appendfsync": "everysec"}, "warning", "set it to always"),
        ({"appendonly": "no"}, "wrong", "appendonly yes"),
        ({"maxmemory_policy": "allkeys-lru"}, "warning", "noeviction"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": "100mb"}, "wrong", "noeviction"),
    ],
)
async def test_a_redis_that_may_lose_messages_is_told_of(own_redis, options, level, todo):
    async with configured(own_redis, **options):
        [_, (told, said)] = await found("redis", redis_url=own_redis)
    assert (told, todo in said) == (level, True)


async def test_a_redis_that_does_not_let_us_in_is_named_without_the_password(own_redis):
    async with configured(own_redis, requirepass="right"):
        [(level, said)] = await found("redis", redis_url=f"{own_redis}?password=WRONG")
        async with Redis.from_url(f"{own_redis}?password=right") as client:
            await client.config_set("requirepass", "")
    assert (level, "WRONG" in said) == ("wrong", False)
    assert "FRONTDESK_REDIS_URL" in said


async def test_an_engine_that_is_configured_must_be_there():
    assert levels(await found("engine", engine_url=None, engine_port=1)) == ["warning"]
    assert levels(await found("engine")) == ["wrong"]


def test_beside_a_running_frontdesk_everything_answers(frontdesk_up):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--json"],
        env=frontdesk_up.environment,
        cwd=frontdesk_up.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout
    said = {each["area"]: (each["level"], each["text"]) for each in json.loads(ended.stdout)["findings"]}
    assert said["redis"][0] == "ok"
    assert "started by frontdesk" in said["redis"][1]
    assert said["engine"][0] == "ok"
    assert "frontdesk-starter" in said["engine"][1]


@pytest.fixture
async def at_discord():
    """A local Discord, and what doctor says of it under these settings."""
    async with DiscordServer() as server:

        async def ask(token=None, **settings):
            token = server.token if token is None else token
            return await found(
                "discord", **{"discord_token": token, "discord_api_url": server.rest_url, **settings}
            )

        yield server, ask


async def test_discord_gives_the_invite_link(at_discord):
    server, ask = at_discord
    [(level, login), (_, invite)] = await ask()
    assert (level, "frontdesk" in login) == ("ok", True)
    assert invite_link(str(server.application_id)) in invite


def test_the_invite_asks_for_what_the_bot_does_and_no_more():
    needed = discord.Permissions(
        view_channel=True,
        send_messages=True,
        send_messages_in_threads=True,
        read_message_history=True,
        attach_files=True,
        use_application_commands=True,
    )
    scopes = ("bot", "applications.commands")
    assert invite_link("123") == discord.utils.oauth_url(123, permissions=needed, scopes=scopes)


async def test_a_refused_or_impossible_discord_token_is_told_of(at_discord):
    _, ask = at_discord
    for token in ("another", "two\nlines", "größer"):
        [(level, said)] = await ask(token=token)
        assert (level, token in said) == ("wrong", False)


@pytest.mark.parametrize(
    "setting", [{"discord_message_content": True}, {"auto_channels": ("discord:1100000000000000001",)}]
)
async def test_the_intent_is_asked_for_only_where_it_is_needed(at_discord, setting):
    server, ask = at_discord
    assert "wrong" not in levels(await ask())
    [said] = [said for level, said in await ask(**setting) if level == "wrong"]
    assert f"https://discord.com/developers/applications/{server.application_id}/bot" in said
    assert "Message Content Intent" in said
    server.message_content_enabled = True
    assert "wrong" not in levels(await ask(**setting))


async def test_a_discord_that_is_away_is_no_fault_of_the_settings(at_discord):
    server, ask = at_discord
    server.fail_next(503)
    assert levels(await ask()) == ["warning"]
    assert levels(await ask(discord_api_url="http://127.0.0.1:1")) == ["warning"]


class ScopedSlack(SlackServer):
    """Says which scopes the token has, as Slack does with every answer."""

    scopes = ""

    async def _serve_api(self, request):
        response = await super()._serve_api(request)
        response.headers["x-oauth-scopes"] = self.scopes
        return response


@pytest.fixture
async def at_slack():
    """A local Slack, and what doctor says of it under these settings."""
    async with ScopedSlack() as server:
        server.scopes = ",".join(wanted_scopes())

        async def ask(**settings):
            tokens = {"slack_bot_token": server.bot_token, "slack_app_token": server.app_token}
            return await found("slack", slack_api_url=server.api_url, **tokens | settings)

        yield server, ask


def wanted_scopes():
    return slack_manifest(Settings(), Registry())["oauth_config"]["scopes"]["bot"]


async def test_slack_tokens_that_work_are_said_to(at_slack):
    _, ask = at_slack
    (bot, said), (app, mode) = await ask()
    assert (bot, app) == ("ok", "ok")
    assert "in Frontdesk" in said
    assert "Socket Mode" in mode


async def test_scopes_that_the_manifest_asks_for_and_the_token_lacks_are_named(at_slack):
    server, ask = at_slack
    missing, *kept = wanted_scopes()
    server.scopes = ", ".join(kept)
    [said] = [said for level, said in await ask() if level == "wrong"]
    assert f"lacks the scopes {missing} →" in said
    assert "frontdesk doctor --slack-manifest" in said


async def test_refused_slack_tokens_are_told_apart(at_slack):
    server, ask = at_slack
    [said] = [said for level, said in await ask(slack_bot_token="xoxb-other") if level == "wrong"]
    assert "bot token: invalid_auth" in said
    [said] = [said for level, said in await ask(slack_app_token=server.bot_token) if level == "wrong"]
    assert "app-level token: not_allowed_token_type" in said


async def test_http_mode_needs_an_address_and_a_signing_secret(at_slack):
    server, ask = at_slack
    http = {"slack_app_token": None, "slack_signing_secret": server.signing_secret}
    assert "FRONTDESK_PUBLIC_URL" in dict(await ask(**http))["wrong"]
    settled = await ask(**http, public_url="https://desk.example.org")
    assert levels(settled) == ["ok", "ok"]


def test_the_manifest_alone_is_json_for_slack(command):
    status, said = command("--slack-manifest")
    assert status == 0
    settings = load_settings()
    assert json.loads(said) == slack_manifest(settings, load_plugins(settings))
    assert "/hours" in said


async def test_channels_must_be_ids_on_a_platform_that_is_configured():
    tokens = {
        "slack_bot_token": "xoxb-1",
        "slack_app_token": "xapp-1",
        "slack_api_url": "http://127.0.0.1:1/",
    }
    for channel, level in (("slack:C100", "ok"), ("slack:#help", "wrong"), ("discord:1", "wrong")):
        assert levels(await found("staff_channel", **tokens, staff_channel=channel)) == [level]
        assert levels(await found("auto_channels", **tokens, auto_channels=(channel,))) == [level]


async def test_no_secret_is_printed(at_discord, at_slack, command, monkeypatch, tmp_path):
    (discord_server, _), (slack, _) = at_discord, at_slack
    hidden = "hunter2-is-the-secret"
    plugin = tmp_path / "leaky.py"
    plugin.write_text(f"raise RuntimeError('Bearer {hidden}')\n")
    values = {name: hidden for name, field in Settings.model_fields.items() if "SecretStr" in str(field)}
    values |= {
        "redis_url": f"redis://user:{hidden}@127.0.0.1:1/0?password={hidden}",
        "slack_bot_token": f"xoxb-{hidden}",
        "slack_client_id": "1.2",
        "discord_api_url": discord_server.rest_url,
        "slack_api_url": slack.api_url,
        "plugins": str(plugin),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"FRONTDESK_{name.upper()}", value)
    assert hidden in (secret(load_settings().discord_token) or "")
    for arguments in ((), ("--json",), ("--slack-manifest",)):
        status, said = await asyncio.to_thread(command, *arguments)
        assert status == (0 if arguments == ("--slack-manifest",) else 1)
        assert hidden not in said
