"""The part of a local Slack beside messages: Home and forms, prompts, edits, and installing in workspaces.

A base class of `slack_server.SlackServer`, on top of its Web API. It follows Slack's method, view and event
pages; whoever submits a form or agrees to an installation is the test.
"""

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
from slack_posts import SlackError

MAX_BLOCKS = 100  # of a view
MAX_METADATA = 3_000
MAX_TITLE = 24
MAX_OPTION = 75
MAX_PROMPTS = 4


class SlackSurfaces:
    """`views` are the open forms by id, `homes` and `prompts` what people see, by person and channel."""

    client_id, client_secret = "100.200", "f3a0c0ffee"

    def __init__(self, **more):
        super().__init__(**more)
        self.views, self.homes, self.prompts = {}, {}, {}
        self.locales = {}
        self._used_triggers, self._codes = set(), {}

    # What the bot calls.

    def _api_views_open(self, args):
        view, trigger = _as_json(args["view"]), args.get("trigger_id") or ""
        if not trigger.startswith("trigger.") or trigger in self._used_triggers:
            raise SlackError(
                "invalid_trigger" if trigger not in self._used_triggers else "exchanged_trigger_id"
            )
        self._used_triggers.add(trigger)
        _check_view(view, "modal")
        view_id = f"V{next(self._numbers)}"
        self.views[view_id] = {**view, "id": view_id, "hash": "h1"}
        return {"view": self.views[view_id]}

    def _api_views_publish(self, args):
        view = _as_json(args["view"])
        if args.get("user_id") not in self.users:
            raise SlackError("user_not_found")
        _check_view(view, "home")
        self.homes[args["user_id"]] = {**view, "id": f"V{next(self._numbers)}"}
        return {"view": self.homes[args["user_id"]]}

    def _api_assistant_threads_setSuggestedPrompts(self, args):
        channel, prompts = self._channel(args, "channel_id"), _as_json(args["prompts"])
        if not 0 < len(prompts) <= MAX_PROMPTS or any(p.keys() != {"title", "message"} for p in prompts):
            raise SlackError("invalid_arguments")
        self.prompts[channel] = args
        return {}

    def _api_users_info(self, args):
        found = super()._api_users_info(args)
        locale = {"locale": self.locales.get(args["user"], "en-US")} if args.get("include_locale") else {}
        return {"user": {**found["user"], **locale}}

    def _api_oauth_v2_access(self, args):
        asked = self._codes.pop(args.get("code"), None)
        if asked is None or asked["redirect_uri"] != args.get("redirect_uri"):
            raise SlackError("invalid_code")
        token = f"xoxb-{asked['team'] or asked['enterprise']}-{next(self._numbers)}"
        ids = {"user_id": f"UBOT{asked['team'] or asked['enterprise']}", "bot_id": f"B{next(self._numbers)}"}
        self.installed[token] = {**ids, "team_id": asked["team"], "enterprise_id": asked["enterprise"]}
        team = {"id": asked["team"], "name": "Team"} if asked["team"] else None
        enterprise = {"id": asked["enterprise"], "name": "Org"} if asked["enterprise"] else None
        about = {"app_id": self.app_id, "token_type": "bot", "scope": asked["scope"]}
        return {
            **about,
            "access_token": token,
            "bot_user_id": ids["user_id"],
            "team": team,
            "enterprise": enterprise,
            "is_enterprise_install": team is None,
            "authed_user": {"id": self.user_id},
        }

    def _authorize(self, method, token):
        if method != "oauth.v2.access":
            return super()._authorize(method, token)
        given = base64.b64decode(token.removeprefix("Basic ")).decode()
        if given != f"{self.client_id}:{self.client_secret}":
            raise SlackError("bad_client_secret")

    # What people do.

    def approve(self, url, *, team=None, enterprise=None):
        """Somebody opens the page that asks for the app's scopes and agrees: where Slack sends them."""
        parts = urlsplit(url)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert parts.path == "/oauth/v2/authorize" and asked["client_id"] == self.client_id, url
        code = f"code-{next(self._numbers)}"
        self._codes[code] = {**asked, "team": team, "enterprise": enterprise}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    async def open_home(self, tab="home", user=None):
        """Somebody opens one of the bot's tabs; returns the body sent."""
        user = user or self.user_id
        channel = self.open_dm(user)
        return await self.event(
            {
                "type": "app_home_opened",
                "user": user,
                "channel": channel,
                "tab": tab,
                "event_ts": self.new_ts(),
            }
        )

    async def stop(self, channel, thread_ts, user=None):
        """Somebody presses an agent session's stop button; returns the body sent."""
        about = {"channel": channel, "thread_ts": thread_ts, "user": user or self.user_id}
        return await self.event({"type": "agent_session_stopped", **about, "streaming_message_ts": []})

    def rewrite(self, channel, ts, text):
        """The author edits a message."""
        message = self.find(channel, ts)
        old = dict(message)
        message |= {"text": text, "edited": {"user": message["user"], "ts": self.new_ts()}}
        self.announce(channel, message, subtype="message_changed", old=old)

    def unfurl(self, channel, ts):
        """Slack adds previews of a message's links: its text stays."""
        message = self.find(channel, ts)
        old = dict(message)
        message["attachments"] = [{"title": "A page"}]
        self.announce(channel, message, subtype="message_changed", old=old)

    def remove(self, channel, ts):
        """The author deletes a message. One with replies leaves a tombstone, and that is a change."""
        message = self.find(channel, ts)
        self.messages[channel].remove(message)
        if not self.replies(channel, ts):
            self.announce(channel, message, subtype="message_deleted")
            return
        tombstone = {"type": "message", "subtype": "tombstone", "user": "USLACKBOT", "hidden": True}
        tombstone |= {"text": "This message was deleted.", "ts": ts, "thread_ts": ts}
        self.announce(channel, tombstone, subtype="message_changed", old=message)

    async def submit(self, view, values, user=None):
        """Somebody fills in a form, by block id, and sends it; returns the acknowledgement or None."""
        body = self.submission(view, values, user)
        return await self._send(self._envelope("interactive", body))

    def submission(self, view, values, user=None):
        """The body of that request."""
        user = user or self.user_id
        state = {
            block["block_id"]: {block["element"]["action_id"]: _filled(block, values.get(block["block_id"]))}
            for block in view["blocks"]
            if block["type"] == "input"
        }
        return {
            "type": "view_submission",
            "team": {"id": self.team_id},
            "user": {"id": user, "team_id": self.team_id},
            "api_app_id": self.app_id,
            "token": "verification",
            "trigger_id": f"trigger.{next(self._numbers)}",
            "view": {**view, "state": {"values": state}},
            "response_urls": [],
            "is_enterprise_install": False,
        }

    async def press(self, view, action_id, user=None):
        """Somebody presses a button of their Home; returns the acknowledgement or None."""
        (button,) = [
            block["accessory"]
            for block in view["blocks"]
            if block.get("accessory", {}).get("action_id") == action_id
        ]
        action = {**button, "action_ts": self.new_ts()}
        body = {"actions": [action], "view": view, "container": {"type": "view", "view_id": view["id"]}}
        who = {"user": {"id": user or self.user_id, "team_id": self.team_id}, "channel": None}
        return await self.interact({**body, **who})

    async def post_form(self, url, fields, *, timestamp=None):
        """HTTP mode: a slash command's fields, or an interactive body, as Slack posts them."""
        form = fields if "command" in fields else {"payload": json.dumps(fields)}
        return await self.post_signed(
            url, urlencode(form), "application/x-www-form-urlencoded", timestamp=timestamp
        )

    async def post_signed(self, url, body, kind, *, timestamp=None, secret=None, headers=None, sent=None):
        """Any body, signed; `sent` goes out in its place, as if somebody had changed it on the way."""
        timestamp = str(int(time.time()) if timestamp is None else timestamp)
        text = f"v0:{timestamp}:".encode() + (body.encode() if isinstance(body, str) else body)
        signature = hmac.new((secret or self.signing_secret).encode(), text, hashlib.sha256).hexdigest()
        signed = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={signature}"}
        signed |= {"Content-Type": kind, **(headers or {})}
        signed = {name: value for name, value in signed.items() if value is not None}
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, data=sent or body, headers=signed) as response,
        ):
            return response.status, await response.text()


def _as_json(value):
    return json.loads(value) if isinstance(value, str) else value


def _check_view(view, kind):
    """Slack's limits of views: docs.slack.dev/reference/views."""
    is_fine = view["type"] == kind and 0 < len(view["blocks"]) <= MAX_BLOCKS
    is_fine &= len(view.get("private_metadata") or "") <= MAX_METADATA
    if kind == "modal":
        inputs = [block for block in view["blocks"] if block["type"] == "input"]
        is_fine &= 0 < len(view["title"]["text"]) <= MAX_TITLE and (not inputs or "submit" in view)
        is_fine &= len({block["block_id"] for block in inputs}) == len(inputs)
        is_fine &= all(_is_fine(block["element"]) for block in inputs)
    if not is_fine:
        raise SlackError("invalid_arguments")


def _is_fine(element):
    if element["type"] == "number_input":
        return isinstance(element.get("is_decimal_allowed"), bool)
    options = element.get("options", [])
    most = {"static_select": 100, "radio_buttons": 10}.get(element["type"], 0)
    has_options = 0 < len(options) <= most if most else not options
    initial = element.get("initial_option")
    return (
        has_options
        and all(0 < len(option["text"]["text"]) <= MAX_OPTION for option in options)
        and (initial is None or initial in options)
    )


def _filled(block, value):
    """What a field says in `state.values`. Slack lets no empty field through that is not optional."""
    element = block["element"]
    if "options" in element:
        chosen = [option for option in element["options"] if option["value"] == value]
        chosen = chosen or [element[key] for key in ("initial_option",) if key in element]
        assert chosen or block.get("optional"), f"{block['block_id']} is empty"
        return {"type": element["type"], "selected_option": chosen[0] if chosen else None}
    value = element.get("initial_value") if value is None else value
    assert value or block.get("optional"), f"{block['block_id']} is empty"
    return {"type": element["type"], "value": value or None}
