"""Settings: where they come from, what is refused and how it is named, and that secrets stay secret."""

from pathlib import Path

import pytest

from bots.errors import StartError
from bots.settings import Settings, load_settings, secret

SECRETS = [
    "discord_token",
    "slack_bot_token",
    "slack_app_token",
    "slack_signing_secret",
    "slack_client_secret",
    "master_key",
    "engine_key",
    "remote_key",
    "redis_url",
]
HIDDEN = "hunter2-is-the-secret"


@pytest.fixture
def env(monkeypatch):
    """Set `FRONTDESK_…` variables."""

    def set_them(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"FRONTDESK_{name.upper()}", value)

    return set_them


def toml(text):
    Path("frontdesk.toml").write_text(text, encoding="utf-8")


def refused():
    with pytest.raises(StartError) as caught:
        load_settings()
    return str(caught.value)


def test_without_anything_the_defaults_hold():
    settings = load_settings()
    assert settings == Settings()
    assert settings.web_host == settings.engine_host == "127.0.0.1"
    assert settings.engine_address == "http://127.0.0.1:8717"


def test_environment_beats_file_and_file_beats_default(env):
    toml('persona = "from the file"\nweb_port = 1111\nretention_days = 7')
    env(web_port="2222")
    settings = load_settings()
    assert (settings.persona, settings.web_port, settings.retention_days) == ("from the file", 2222, 7)
    assert settings.engine_port == 8717


def test_an_unknown_variable_stops_the_start_and_is_named(env):
    env(discord_tokn="x", modle="y")
    assert "FRONTDESK_DISCORD_TOKN, FRONTDESK_MODLE" in refused()


def test_an_unknown_key_in_the_file_stops_the_start_and_is_named():
    toml('modle = "x"')
    assert "modle in frontdesk.toml" in refused()


def test_a_table_in_the_file_is_no_setting():
    toml('[discord]\ntoken = "x"')
    assert "discord in frontdesk.toml" in refused()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web_port", "http"),
        ("web_port", "65536"),
        ("generator", "magic"),
        ("retention_days", "0"),
        ("hand_over_below", "1.5"),
        ("max_batch", "0"),
        ("log_level", "loud"),
        ("auto_channels", "general"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(env, name, value):
    env(**{name: value})
    assert f"FRONTDESK_{name.upper()}" in refused()


def test_every_bad_value_is_named_at_once(env):
    env(web_port="http", generator="magic")
    assert "FRONTDESK_WEB_PORT" in refused()
    assert "FRONTDESK_GENERATOR" in refused()


def test_a_file_that_is_no_toml_is_said_to_be_so():
    toml("model = ")
    assert "frontdesk.toml" in refused()


def test_an_empty_variable_is_not_set(env):
    env(discord_token="", model="")
    assert load_settings().discord_token is None
    assert load_settings().model is None


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_can_come_from_a_file(env, tmp_path, name):
    file = tmp_path / "secret"
    file.write_text(f"{HIDDEN}\n")
    others = {"slack_bot_token": "slack_app_token", "slack_app_token": "slack_bot_token"}
    if name in others:
        env(**{others[name]: "other"})
    env(**{f"{name}_file": str(file)})
    assert secret(getattr(load_settings(), name)) == HIDDEN


def test_a_variable_beats_a_secret_file_which_beats_the_settings_file(env, tmp_path):
    toml('discord_token = "toml"')
    (tmp_path / "secret").write_text("file")
    env(discord_token_file=str(tmp_path / "secret"))
    assert secret(load_settings().discord_token) == "file"
    env(discord_token="variable")
    assert secret(load_settings().discord_token) == "variable"


def test_a_secret_file_that_is_missing_is_named(env):
    env(discord_token_file="/nowhere/token")
    assert "/nowhere/token" in refused()


def test_only_secrets_can_come_from_files(env):
    env(model_file="/etc/passwd")
    assert "FRONTDESK_MODEL_FILE" in refused()


@pytest.mark.parametrize(
    ("given", "missing"), [("slack_bot_token", "slack_app_token"), ("slack_app_token", "slack_bot_token")]
)
def test_one_slack_token_alone_is_refused_and_the_other_named(env, given, missing):
    env(**{given: HIDDEN})
    assert f"{missing} (x" in refused()
    assert HIDDEN not in refused()


def test_auto_channels_name_platform_and_channel(env):
    env(auto_channels="slack:C1, discord:42,discord:43,")
    settings = load_settings()
    assert settings.auto_channels_of("discord") == {"42", "43"}
    assert settings.auto_channels_of("slack") == {"C1"}


@pytest.mark.parametrize("channel", ["general", "irc:general", "slack:", ":C1", "slack"])
def test_an_auto_channel_of_another_form_is_refused(env, channel):
    env(auto_channels=f"slack:C1,{channel}")
    assert channel in refused()


def test_lists_are_lists_in_the_settings_file():
    toml('auto_channels = ["slack:C1"]\nplugins = ["mine", "theirs.py"]')
    settings = load_settings()
    assert settings.auto_channels == ("slack:C1",)
    assert settings.plugins == ("mine", "theirs.py")


def test_the_plugins_folder_in_the_data_folder_is_used_when_it_is_there(env, tmp_path):
    env(data_dir=str(tmp_path), plugins="mine")
    assert load_settings().plugin_sources() == ("mine",)
    (tmp_path / "plugins").mkdir()
    assert load_settings().plugin_sources() == ("mine", str(tmp_path / "plugins"))


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError):
        load_settings().model = "other"


def test_no_secret_shows_when_settings_are_printed():
    settings = Settings(**dict.fromkeys(SECRETS, HIDDEN))
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert HIDDEN not in shown
        assert "**" in shown


def test_no_secret_shows_in_an_error(env):
    toml(f'discord_token = ["{HIDDEN}"]')
    env(slack_bot_token=HIDDEN, web_port="http", auto_channels="x")
    with pytest.raises(StartError) as caught:
        load_settings()
    error = caught.value
    while error is not None:
        assert HIDDEN not in f"{error}{error!r}"
        error = error.__cause__ or error.__context__
