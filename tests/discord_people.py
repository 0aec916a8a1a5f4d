"""What people do at the Discord of discord_server.py: they write, edit, delete, click and fill in.

Sources are named there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).isoformat()


def components(tree: list[Json]) -> Iterator[Json]:
    """Every component of a message, however deep (components/reference)."""
    for component in tree:
        yield component
        yield from components(component.get("components", []))
        yield from components([component[n] for n in ("accessory", "component") if n in component])


class People:
    """The half of `DiscordServer` that a test calls for its users."""

    async def say(
        self,
        channel_id: int,
        text: str,
        *,
        author: int | None = None,
        mention_bot: bool = False,
        reply_to: Json | None = None,
        attachments: dict[str, str | bytes] | None = None,
    ) -> Json:
        """A user (`author`, default `user_id`) writes; a reply mentions whom it answers, as in the app."""
        if author is not None and author not in self.users:
            self.add_user(author, f"user{author}")
        body: Json = {"content": f"<@{self.bot_id}> {text}" if mention_bot else text}
        if reply_to:
            body["message_reference"] = {"message_id": reply_to["id"]}
        files = {n: d.encode() if isinstance(d, str) else d for n, d in (attachments or {}).items()}
        return await self._create(channel_id, self.users[author or self.user_id], body, files)

    async def dm(self, text: str, *, user_id: int | None = None, **options: Any) -> Json:
        """A user writes to the bot directly; the options are those of `say`."""
        user_id = user_id or self.user_id
        return await self.say(self.dm_channel(user_id), text, author=user_id, **options)

    def dm_channel(self, user_id: int) -> int:
        """The id of the DM channel of the bot and this user (one, however often it is opened)."""
        if user_id not in self.users:
            self.add_user(user_id, f"user{user_id}")
        for channel_id, channel in self.channels.items():
            if channel["type"] == 1 and channel["recipients"][0]["id"] == str(user_id):
                return channel_id
        return self._add_channel(self._snowflake(), 1, recipients=[self.users[user_id]])

    async def forum_post(self, title: str, text: str, *, mention_bot: bool = False) -> Json:
        """A user opens a post in the forum: a thread whose id is that of its first message."""
        thread_id = self._snowflake()
        thread = {"name": title, "parent_id": str(self.forum_id), "owner_id": str(self.user_id)}
        archive = {"archived": False, "auto_archive_duration": 1440, "archive_timestamp": now()}
        thread |= {"message_count": 0, "member_count": 1, "thread_metadata": archive}
        self._add_channel(thread_id, 11, **thread)
        await self._dispatch("THREAD_CREATE", self.channels[thread_id] | {"newly_created": True}, thread_id)
        body = {"content": f"<@{self.bot_id}> {text}" if mention_bot else text}
        return await self._create(thread_id, self.users[self.user_id], body, id=str(thread_id))

    async def rewrite(self, message: Json, text: str) -> None:
        """Its author edits a message."""
        await self._edit(message, {"content": text, "allowed_mentions": None}, {})

    async def unfurl(self, message: Json) -> None:
        """Discord itself adds a preview of a link: an update, but no edit."""
        message["embeds"] = [{"type": "link", "title": "a page"}]
        await self._dispatch("MESSAGE_UPDATE", message, int(message["channel_id"]))

    async def remove(self, *messages: Json) -> None:
        """A user deletes a message, or a moderator several of one channel at once."""
        channel_id, ids = int(messages[0]["channel_id"]), [message["id"] for message in messages]
        self.messages[channel_id] = [m for m in self.messages[channel_id] if m["id"] not in ids]
        place = {"channel_id": str(channel_id)}
        if guild_id := self._guild_of(channel_id):
            place["guild_id"] = str(guild_id)
        if len(ids) == 1:
            await self._dispatch("MESSAGE_DELETE", place | {"id": ids[0]}, channel_id)
        else:
            await self._dispatch("MESSAGE_DELETE_BULK", place | {"ids": ids}, channel_id)

    async def interact(
        self,
        command_name: str,
        options: Json | None = None,
        channel_id: int | None = None,
        user_id: int | None = None,
    ) -> Json:
        """A user gives a slash command the bot has registered: "ask", or "ticket close" for a subcommand
        (interactions/receiving-and-responding#interaction-data)."""
        top, *subs = command_name.split()
        level = self._registered(top, 1)
        data = inner = {n: level[n] for n in ("id", "name", "type", "guild_id") if n in level}
        for name in subs:
            level = next(o for o in level["options"] if o["name"] == name)
            inner["options"] = [{"type": level["type"], "name": name}]
            inner = inner["options"][0]
        types = {o["name"]: o["type"] for o in level.get("options", ())}
        needed = [o["name"] for o in level.get("options", ()) if o.get("required")]
        if missing := set(needed) - set(options or ()):
            raise LookupError(f"Discord does not send {command_name!r} without {missing}")
        if options:
            inner["options"] = [{"type": types[n], "name": n, "value": v} for n, v in options.items()]
        return await self._interaction(2, data, channel_id or self.channel_id, user_id or self.user_id)

    async def type_in(self, command_name: str, option: str, typed: str) -> Json:
        """A user is typing an option of a slash command; the callback has the suggestions (#autocomplete)."""
        command = self._registered(command_name, 1)
        found = next(o for o in command["options"] if o["name"] == option)
        if not found.get("autocomplete"):
            raise LookupError(f"{option!r} of {command_name!r} has no autocomplete")
        value = {"type": found["type"], "name": option, "value": typed, "focused": True}
        data = {n: command[n] for n in ("id", "name", "type")} | {"options": [value]}
        return await self._interaction(4, data, self.channel_id, self.user_id)

    async def choose(self, menu_name: str, message: Json) -> Json:
        """A user picks an entry of a message's menu: the message comes whole, whatever the intents."""
        command = self._registered(menu_name, 3)
        data = {n: command[n] for n in ("id", "name", "type")} | {"target_id": message["id"]}
        data["resolved"] = {"messages": {message["id"]: message}}
        return await self._interaction(2, data, int(message["channel_id"]), self.user_id)

    async def submit(self, interaction: Json, values: dict[str, str]) -> Json:
        """A user fills in the modal that answered `interaction`, and sends it off."""
        callback = self.response(interaction).callback
        assert callback and callback["type"] == 9, callback
        fields = [c for c in components(callback["data"]["components"]) if c["type"] == 4]
        rows = [
            {"type": 1, "components": [{"type": 4, "custom_id": f["custom_id"], "value": value}]}
            for f in fields
            for value in [values.get(f["custom_id"], f.get("value") or "")]
        ]
        data = {"custom_id": callback["data"]["custom_id"], "components": rows}
        return await self._interaction(5, data, int(interaction["channel_id"]), self.user_id)

    def _registered(self, name: str, kind: int) -> Json:
        commands = self.commands.get(None, []) + self.commands.get(self.guild_id, [])
        known = {c["name"]: c for c in commands if c["type"] == kind}
        if name not in known:
            raise LookupError(f"the bot has not registered {name!r}; it has {sorted(known)}")
        return known[name]

    async def click(self, message: Json, custom_id: str, *, user_id: int | None = None) -> Json:
        """A user presses a button of a message."""
        message = self._find(int(message["channel_id"]), message["id"]) or message
        button = next(c for c in components(message["components"]) if c.get("custom_id") == custom_id)
        data = {"custom_id": custom_id, "component_type": button["type"]}
        return await self._interaction(
            3, data, int(message["channel_id"]), user_id or self.user_id, message=message
        )
