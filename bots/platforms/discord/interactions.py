"""What Discord calls interactions: slash commands, the message menu, modals, suggestions, buttons.

Discord waits three seconds for a first answer, so that is given before anything else; a deferral may then
be filled for a quarter of an hour. Source: interactions/receiving-and-responding.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import discord
from discord import app_commands

from bots.adapter import insist
from bots.commands import Command
from bots.intake import Intake
from bots.message import Attachment, Change, ConversationKey, Message, Rating, Receipt
from bots.platforms.discord.buttons import Chosen, Rated, Stopped, pressed
from bots.platforms.discord.question import attachments_of, author_of, conversation, text_of
from bots.platforms.discord.slash import Slash, named_options, opens_modal, slash_name
from engine.language.phrases import say
from engine.log import logger

Interaction = discord.Interaction[discord.Client]

log = logger("bots.discord")

_MODAL = "frontdesk:command:"
_LONGEST_LABEL, _LONGEST_TITLE, _LONGEST_INPUT, _LONGEST_CHOICE = 45, 45, 4000, 100
# Unknown interaction: it was answered too late, and its token is worth nothing.
_UNKNOWN = 10062


class Interactions:
    """Answers each at once, and hands on what it asks for."""

    def __init__(self, slash: Slash, intake: Intake, take: Callable[[Message], Awaitable[Receipt]]) -> None:
        self._slash, self._intake, self._take = slash, intake, take

    async def handle(self, interaction: Interaction) -> None:
        """Whatever it is; an unknown one is acknowledged, so that nobody reads that the bot has failed."""
        data: Any = interaction.data or {}
        match interaction.type:
            case discord.InteractionType.application_command if data.get("type", 1) == 1:
                await self._command(interaction, data)
            case discord.InteractionType.application_command:
                await self._menu(interaction, data)
            case discord.InteractionType.autocomplete:
                await self._suggest(interaction, data)
            case discord.InteractionType.modal_submit:
                await self._submitted(interaction, data)
            case discord.InteractionType.component:
                await self._press(interaction, data)

    async def _command(self, interaction: Interaction, data: Any) -> None:
        command, options = self._slash.find(data["name"]), data.get("options", [])
        if command is None:  # `ask`, or a command that is no longer there
            words = " ".join(str(option["value"]) for option in options)
            await self._accept(interaction, words if data["name"] == "ask" else f"/{data['name']} {words}")
            return
        arguments = named_options(command, options)
        if opens_modal(command) and command.parameters[-1].name not in arguments:
            await _acknowledged(interaction.response.send_modal(_modal(command, arguments)))
        else:
            await self._call(interaction, command, arguments)

    async def _menu(self, interaction: Interaction, data: Any) -> None:
        """ "Ask about this": Discord gives the message's content here, whatever the intents."""
        target = data["resolved"]["messages"][data["target_id"]]
        assert interaction.client.user is not None
        text = text_of(target["content"], interaction.client.user)
        await self._accept(interaction, text, attachments=attachments_of(target["attachments"]))

    async def _submitted(self, interaction: Interaction, data: Any) -> None:
        name = str(data["custom_id"]).removeprefix(_MODAL)
        given = [
            {"name": field["custom_id"], "value": field["value"]}
            for field in _fields(data["components"])
            if field.get("value")
        ]
        if command := self._slash.find(name):
            await self._call(interaction, command, named_options(command, given))
        else:
            await self._accept(interaction, " ".join([f"/{name}", *(field["value"] for field in given)]))

    async def _call(self, interaction: Interaction, command: Command, arguments: Mapping[str, str]) -> None:
        line = command.line(arguments)
        await self._accept(interaction, line, command=command.name, arguments=arguments)

    async def _suggest(self, interaction: Interaction, data: Any) -> None:
        command = self._slash.find(data["name"])
        focused = next((option for option in data.get("options", ()) if option.get("focused")), None)
        found: Sequence[str] = ()
        for parameter in command.parameters if command and focused else ():
            if focused and slash_name(parameter.name) == focused["name"]:
                found = await parameter.suggestions(str(focused["value"]))
        choices = [
            app_commands.Choice(name=text, value=text) for text in found if 0 < len(text) <= _LONGEST_CHOICE
        ]
        await _acknowledged(interaction.response.autocomplete(choices))

    async def _press(self, interaction: Interaction, data: Any) -> None:
        content = interaction.message.content if interaction.message else ""
        match pressed(str(data.get("custom_id", "")), content):
            case Chosen(text):
                await self._accept(interaction, text)
            case Rated(message_id, is_helpful):
                await _acknowledged(_whisper(interaction, "thanks_for_rating"))
                rating = Rating(_place(interaction), message_id, str(interaction.user.id), is_helpful)
                await insist(lambda: self._intake.rate(rating))
            case Stopped(message_id, author_id):
                await self._stop(interaction, message_id, author_id)
            case None:
                await _acknowledged(interaction.response.defer())

    async def _stop(self, interaction: Interaction, message_id: str, author_id: str) -> None:
        user_id = str(interaction.user.id)
        if user_id != author_id and not interaction.context.dm_channel:
            await _acknowledged(_whisper(interaction, "stop_not_yours"))
            return
        await _acknowledged(interaction.response.defer())
        change = Change("stop", _place(interaction), message_id, user_id)
        await insist(lambda: self._intake.change(change, f"discord:{interaction.id}"))

    async def _accept(
        self,
        interaction: Interaction,
        text: str,
        *,
        command: str = "",
        arguments: Mapping[str, str] | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> None:
        is_deferred = await _acknowledged(interaction.response.defer(thinking=True))
        address = {"application": str(interaction.application_id), "token": interaction.token}
        receipt = await self._take(
            Message(
                id=f"discord:{interaction.id}",
                conversation=_place(interaction),
                author=author_of(interaction.user),
                text=text,
                # A direct message between two people who brought the app along is none with the bot.
                is_private=bool(interaction.context.dm_channel),
                attachments=attachments,
                address=address if is_deferred else {},
                command=command,
                arguments=arguments or {},
            )
        )
        if is_deferred and receipt is Receipt.DROPPED:  # or Discord shows that the bot thinks, and thinks
            await _acknowledged(interaction.delete_original_response())


async def _acknowledged(response: Awaitable[object]) -> bool:
    """Send a first answer; False when Discord no longer waits for one, and the channel has to do.

    A RESUME may bring an interaction again that was answered before: that is no fault.
    """
    try:
        await response
    except discord.HTTPException as error:
        log.warning("Discord does not take the first answer to an interaction", reason=str(error))
        return error.code != _UNKNOWN
    return True


async def _whisper(interaction: Interaction, key: str) -> None:
    """Say something to one person in the language of their app."""
    language = interaction.locale.value.partition("-")[0]
    await interaction.response.send_message(say(key, language), ephemeral=True)


def _place(interaction: Interaction) -> ConversationKey:
    return conversation(interaction.guild_id, interaction.channel_id)


def _modal(command: Command, arguments: Mapping[str, str]) -> discord.ui.Modal:
    """A window that asks for the command's arguments; those that were given stand in it already."""
    modal = discord.ui.Modal(
        title=f"/{command.name}"[:_LONGEST_TITLE], custom_id=f"{_MODAL}{slash_name(command.name)}"
    )
    for parameter in command.parameters:
        field: discord.ui.TextInput[discord.ui.Modal] = discord.ui.TextInput(
            label=parameter.name.replace("_", " ")[:_LONGEST_LABEL],
            custom_id=slash_name(parameter.name),
            style=discord.TextStyle.paragraph if parameter.takes_rest else discord.TextStyle.short,
            default=arguments.get(parameter.name),
            required=parameter.is_required,
            max_length=_LONGEST_INPUT,
        )
        modal.add_item(field)
    modal.stop()  # discord.py would keep it; what is filled in reaches `handle`, also after a restart
    return modal


def _fields(components: Sequence[Any]) -> Iterator[Any]:
    """The text inputs of a modal, in rows or below labels."""
    for component in components:
        if "value" in component:
            yield component
        inner = component.get("component")
        yield from _fields([*component.get("components", ()), *([inner] if inner else ())])
