"""The chat side's settings, on top of the engine's: one frozen object, built once at start."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from bots.errors import StartError
from engine.settings import (
    PREFIX,
    SETTINGS_FILE,
    EngineSettings,
    Listed,
    UnknownSettings,
    check_environment,
)


class Settings(EngineSettings):
    """Everything that can be set, as `FRONTDESK_<NAME>` or in `frontdesk.toml`."""

    engine_url: str | None = None
    web_host: str = "127.0.0.1"
    web_port: int = Field(8718, ge=0, le=65535)
    discord_token: SecretStr | None = None
    discord_api_url: str | None = None
    discord_gateway_url: str | None = None
    slack_bot_token: SecretStr | None = None
    slack_app_token: SecretStr | None = None
    slack_signing_secret: SecretStr | None = None
    slack_api_url: str = "https://slack.com/api/"
    slack_client_id: str | None = None
    slack_client_secret: SecretStr | None = None
    slack_host: str = "127.0.0.1"
    slack_port: int = Field(8719, ge=0, le=65535)
    """Where Slack's HTTP requests are served, without an app-level token."""
    discord_message_content: bool = False
    """Whether Discord's privileged intent is on: threads go on without a mention then."""
    public_url: str | None = None
    """The address under which Slack and browsers reach the Slack server, `https://…`."""
    suggestions: Listed = ()
    """Questions that are offered to people who open a conversation."""
    staff_channel: str | None = None
    """`platform:channel`, or `slack:TEAM_ID/CHANNEL_ID` with several workspaces: where people are called."""
    limit_person: int = Field(60, ge=0)
    """Messages a minute of one person in one channel; 0: no limit, here and below."""
    limit_channel: int = Field(300, ge=0)
    """Messages a minute in one channel."""
    limit_workspace: int = Field(6000, ge=0)
    """Messages a minute in one workspace."""
    limit_tokens: int = Field(0, ge=0)
    """Tokens a day of one workspace, read and written."""
    limit_queue: int = Field(1000, ge=0)
    """Messages that wait in one of the inbox's 64 partitions."""
    plugins: Listed = ()
    """Folders, files or module names."""
    master_key: SecretStr | None = None
    master_key_command: str | None = None
    auto_channels: Listed = ()
    """`platform:channel` each: there every message is answered."""
    show_basis: bool = False
    """Whether answers say what they rest on: passages, and how much of the conversation."""
    retention_days: int = Field(90, ge=1)

    @field_validator("auto_channels")
    @classmethod
    def _with_platforms(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        for channel in channels:
            cls._with_platform(channel)
        return channels

    @field_validator("staff_channel")
    @classmethod
    def _with_platform(cls, channel: str | None) -> str | None:
        platform, _, name = (channel or "discord:any").partition(":")
        if platform not in {"discord", "slack"} or not name:
            raise ValueError(f"{channel!r} is not of the form discord:CHANNEL_ID or slack:CHANNEL_ID")
        return channel

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if self.slack_bot_token is not None and not (self.slack_app_token or self.slack_signing_secret):
            raise ValueError(
                "Slack needs slack_app_token (xapp-…) for Socket Mode, or slack_signing_secret for HTTP"
            )
        if self.slack_app_token is not None and not (self.slack_bot_token or self.slack_client_id):
            raise ValueError(
                "Slack needs slack_bot_token (xoxb-…), or slack_client_id for several workspaces"
            )
        return self

    @property
    def platforms(self) -> tuple[str, ...]:
        """The names of the platforms that are configured, see `bots.platforms`."""
        configured = {
            "discord": self.discord_token is not None,
            "slack": self.slack_bot_token is not None or self.slack_client_id is not None,
        }
        return tuple(name for name, is_configured in configured.items() if is_configured)

    @property
    def engine_address(self) -> str:
        """Where the chat side finds the engine."""
        return self.engine_url or f"http://{self.engine_host}:{self.engine_port}"

    def auto_channels_of(self, platform: str) -> frozenset[str]:
        """The channel ids of one platform in which every message is answered."""
        split = (channel.partition(":") for channel in self.auto_channels)
        return frozenset(name for found, _, name in split if found == platform)

    def plugin_sources(self) -> tuple[str, ...]:
        """What is listed, and the `plugins` folder in the data folder."""
        folder = self.data_dir / "plugins"
        return (*self.plugins, *([str(folder)] if folder.is_dir() else []))


def load_settings(**changes: Any) -> Settings:
    """Read environment and settings file. Raises `StartError` naming every bad or unknown key."""
    try:
        check_environment(Settings)
        return Settings(**changes)
    except UnknownSettings as error:
        raise StartError(f"{error}. See the README's list of settings.") from error
    except tomllib.TOMLDecodeError as error:
        raise StartError(f"{SETTINGS_FILE} is no valid TOML: {error}") from error
    except ValidationError as error:
        problems = (_problem(dict(found)) for found in error.errors(include_input=False))
        raise StartError("; ".join(problems)) from error
    except (OSError, ValueError) as error:
        raise StartError(f"the settings cannot be read: {error}") from error


def _problem(error: dict[str, Any]) -> str:
    name = ".".join(map(str, error["loc"]))
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"setting {name} ({PREFIX}{name.upper()}): {message}" if name else message


def secret(value: SecretStr | None) -> str | None:
    """The secret's text, or None."""
    return value.get_secret_value() if value is not None else None


def folder(path: Path) -> Path:
    """`path`, made if need be, readable by nobody else."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(
            f"the folder {path} cannot be made ({error.strerror}): see FRONTDESK_DATA_DIR"
        ) from error
    return path
