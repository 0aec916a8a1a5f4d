"""The engine's settings: environment, then `frontdesk.toml`, then defaults; secrets also from files.

`Settings` of the chat side extends this class, and one object is built at start by `bots.cli`.
Nothing else reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "FRONTDESK_"
SETTINGS_FILE = Path("frontdesk.toml")


def _listed(value: Any) -> Any:
    """A comma-separated line from the environment, a list from the settings file."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


class UnknownSettings(ValueError):
    """A key in the environment or the settings file that no setting has."""


class EngineSettings(BaseSettings):
    """What the engine needs to know at start. Frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    data_dir: Path = Path("frontdesk-data")
    redis_url: SecretStr | None = None
    model: str | None = None
    embedder: str | None = None
    generator: Literal["local", "remote"] = "local"
    remote_url: str | None = None
    remote_key: SecretStr | None = None
    remote_model: str | None = None
    remote_context: int = Field(8192, ge=256)
    """Tokens that the remote model can read, where its server does not say."""
    engine_host: str = "127.0.0.1"
    engine_port: int = Field(8717, ge=0, le=65535)
    engine_key: SecretStr | None = None
    knowledge: Path | None = None
    """A folder or file that is learned at every start, and again whenever it changes."""
    allowed_hosts: Listed = ()
    """Hosts whose pages `learn` may fetch: `docs.example.org`, `*.example.org`, `10.0.0.7:8080`."""
    hand_over_below: float | None = Field(None, ge=0, le=1)
    """Confidence under which the bot says that it does not know; without it what `calibrate` found counts."""
    max_answer_tokens: int = Field(256, ge=1)
    precision: Literal["float32", "bfloat16", "int8"] | None = None
    """Of the local model. Without it bfloat16 on a GPU and on processors that have it, else float32."""
    max_batch: int = Field(32, ge=1)
    """Answers that are generated at a time."""
    max_waiting: int = Field(256, ge=1)
    """Answers that wait for that; more are told to try again later."""
    token_budget: int = Field(512, ge=1)
    """Tokens that one step computes: one for each running answer, the rest for reading prompts."""
    cache_mb: int | None = Field(None, ge=1)
    """Key/value cache in MiB. Without it 1024 on a CPU, nine tenths of what is free on a GPU."""
    persona: str = "the help desk"
    device: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("remote_url")
    @classmethod
    def _without_slash(cls, url: str | None) -> str | None:
        return url.rstrip("/") if url else url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """First wins: arguments, environment, files named in the environment, the settings file."""
        return (init_settings, env_settings, _SecretFiles(settings_cls), _TomlFile(settings_cls))


def secret_fields(settings_cls: type[BaseSettings]) -> set[str]:
    """The settings that hold secrets: each may be given as `…_FILE`, naming a file."""
    return {
        name
        for name, field in settings_cls.model_fields.items()
        if field.annotation is SecretStr or SecretStr in get_args(field.annotation)
    }


def check_environment(settings_cls: type[BaseSettings]) -> None:
    """Stop at a key with our prefix that no setting has: a typo must not be silently ignored.

    Raises `UnknownSettings` naming the keys.
    """
    known = {PREFIX + name.upper() for name in settings_cls.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in secret_fields(settings_cls)}
    unknown = sorted(key for key in os.environ if key.startswith(PREFIX) and key not in known)
    if unknown:
        raise UnknownSettings(f"unknown setting {', '.join(unknown)} in the environment")


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets whose `…_FILE` variable names a file, as container secrets are mounted."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        return (Path(path).read_text().strip() if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        values = {
            name: self.get_field_value(fields[name], name)[0] for name in secret_fields(self.settings_cls)
        }
        return {name: value for name, value in values.items() if value}


class _TomlFile(PydanticBaseSettingsSource):
    """`frontdesk.toml` in the working directory, keys as the settings are called."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        if not SETTINGS_FILE.is_file():
            return {}
        values = tomllib.loads(SETTINGS_FILE.read_text(encoding="utf-8"))
        unknown = sorted(set(values) - set(self.settings_cls.model_fields))
        if unknown:
            raise UnknownSettings(f"unknown setting {', '.join(unknown)} in {SETTINGS_FILE}")
        return values


__all__ = ["EngineSettings", "UnknownSettings", "check_environment"]
