"""Commands called by Slack's own means: slash commands, forms, and the buttons of the Home.

A slash command cannot be typed in a thread; its answer goes to the channel. What is wrong with its arguments
the desk says, as for a command that was typed as a message.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slack_bolt.async_app import AsyncApp
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.async_context import AsyncBoltContext
from slack_sdk.web.async_client import AsyncWebClient

from bots.commands import Command
from bots.intake import Intake
from bots.message import Author, Message
from bots.platforms.slack import home
from bots.platforms.slack.errands import Errands
from bots.platforms.slack.events import Origin, is_private
from bots.platforms.slack.languages import Languages
from bots.platforms.slack.modal import CALLBACK, Form, as_typed, filled_in, modal
from bots.platforms.slack.slash import ASK, asking, by_slash_name, slash_name
from engine.language.phrases import say

Body = dict[str, Any]


class Commands:
    """Turns calls into messages, and opens a form where something is missing."""

    def __init__(
        self, commands: Mapping[str, Command], intake: Intake, languages: Languages, errands: Errands
    ) -> None:
        self._commands = dict(commands)
        self._by_slash_name = by_slash_name(commands.values())
        self._intake, self._languages, self._errands = intake, languages, errands

    def register(self, app: AsyncApp) -> None:
        """Listen to `app`."""
        app.command(re.compile("^/"))(self._on_slash)
        app.view(CALLBACK)(self._on_submission)
        app.action(re.compile(f"^{home.BUTTON}_"))(self._on_button)

    async def _on_slash(
        self, ack: AsyncAck, body: Body, context: AsyncBoltContext, client: AsyncWebClient
    ) -> None:
        name, text = body["command"], (body.get("text") or "").strip()
        command = self._by_slash_name.get(name)
        if command is None and name != slash_name(ASK):
            await ack(say("command_unknown", self._languages.known(body["user_id"]), name=name))
            return
        called = Form(command.name if command else ASK, body["channel_id"])
        if not text and (command is None or any(found.is_required for found in command.parameters)):
            self._open(client, body["trigger_id"], called, body["user_id"])
        else:
            typed = f"/{command.name} {text}".strip() if command else text
            message = self._message(called, Origin.of(context, body), body["user_id"], typed)
            await self._intake.receive(message, [f"slack:trigger:{body['trigger_id']}"])
            if not message.is_private:
                await ack(response_type="in_channel")  # others shall see what was asked, too
                return
        await ack()

    async def _on_submission(self, ack: AsyncAck, view: Body, body: Body, context: AsyncBoltContext) -> None:
        called, given = Form.from_json(view["private_metadata"]), filled_in(view["state"])
        origin, user = Origin.of(context, body), body["user"]["id"]
        if called.command == ASK:
            message = self._message(called, origin, user, given.get("question", ""))
        elif command := self._commands.get(called.command):
            message = self._message(called, origin, user, as_typed(command, given))
            message = replace(message, command=command.name, arguments=given)
        else:  # its plugin is gone meanwhile: the desk says so
            message = self._message(called, origin, user, f"/{called.command}")
        await self._intake.receive(message, [f"slack:view:{view['id']}"])
        await ack()

    async def _on_button(
        self, ack: AsyncAck, action: Body, body: Body, context: AsyncBoltContext, client: AsyncWebClient
    ) -> None:
        called, user = Form(action["value"], home.channel_of(body["view"])), body["user"]["id"]
        command = self._commands.get(called.command)
        if called.command == ASK or (command is not None and command.parameters):
            self._open(client, body["trigger_id"], called, user)
        else:
            origin = Origin.of(context, body)
            message = self._message(called, origin, user, f"/{called.command}", ts=action["action_ts"])
            await self._intake.receive(message)
        await ack()

    def _open(self, client: AsyncWebClient, trigger: str, called: Form, user: str) -> None:
        self._errands.start("views.open", self._show(client, trigger, called, user))

    async def _show(self, client: AsyncWebClient, trigger: str, called: Form, user: str) -> None:
        language = await self._languages.of(client, user)
        command = asking(say("ask_help", language))
        if called.command != ASK:
            command = self._commands[called.command]
        await client.views_open(trigger_id=trigger, view=modal(command, called, language))

    def _message(self, called: Form, origin: Origin, user: str, text: str, ts: str = "") -> Message:
        """A call has no time of its own in Slack; ours shows from when on its answer can be found."""
        event = {"channel": called.channel}
        return Message(
            id=origin.message_id(called.channel, ts or f"{time.time():.6f}"),
            conversation=origin.conversation(called.channel, ""),
            author=Author(user),
            text=text,
            is_private=is_private(event),
            address=origin.address,
        )
