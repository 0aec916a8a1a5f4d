"""The part of a local Slack that answers the sending half: streams, sessions, files, limits by channel.

A base class of `slack_server.SlackServer`, on top of its Web API. It follows Slack's method pages and what
people report of the rest: a stream dies after about five minutes, and is updated only when it is over.
"""

import itertools
import json
import time

from aiohttp import web

MAX_MARKDOWN_TEXT = 12_000  # of one call, and of all markdown blocks of a message
MAX_BLOCKS = 13_200  # characters of all blocks of a message
SESSION_STATES = ("processing", "active", "suspended", "closed")


class SlackError(Exception):
    """Becomes ``{"ok": false, "error": ...}`` with HTTP status 200, the way the Web API reports errors."""


class SlackPosts:
    """`stream_seconds` is a stream's life; channels in `no_streams` take none."""

    def __init__(self, **more):
        super().__init__(**more)
        self.stream_seconds = 300.0
        self.no_streams = set()
        self.sessions = {}  # what agents.sessions.* said, by channel and thread
        self.uploads = {}  # uploaded, but not shared yet
        self.limits = {}  # method and channel -> until when, by the monotonic clock
        self.too_early = []  # calls made before that
        self._streams = {}
        self._upload_numbers = itertools.count(1)

    def limit(self, method, channel, seconds):
        """Answer `method` in `channel` with 429 for so long, and note who comes earlier than told."""
        self.limits[method, channel] = [seconds, None]

    async def _serve_api(self, request):
        args = await request.json() if request.content_type == "application/json" else await request.post()
        args = {**request.query, **args}
        key = request.match_info["method"], args.get("channel") or args.get("channel_id")
        if limit := self.limits.get(key):
            if limit[1] is not None and time.monotonic() >= limit[1]:
                del self.limits[key]
                return await super()._serve_api(request)
            if limit[1] is not None:
                self.too_early.append(key)
            limit[1] = limit[1] or time.monotonic() + limit[0]
            wait = {"Retry-After": str(limit[0])}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=wait)
        return await super()._serve_api(request)

    def _api_chat_startStream(self, args):
        channel = self._channel(args)
        if not args.get("thread_ts"):
            raise SlackError("invalid_thread_ts")
        if channel in self.no_streams:
            raise SlackError("channel_type_not_supported")
        if self.kind(channel) != "im":
            for needed in ("recipient_team_id", "recipient_user_id"):
                if not args.get(needed):
                    raise SlackError(f"missing_{needed}")
        if args.get("metadata"):
            raise SlackError("invalid_arguments")
        message = self._add_bot_message(
            channel, {"thread_ts": args["thread_ts"], "streaming_state": "in_progress"}
        )
        self._streams[channel, message["ts"]] = time.monotonic()
        self._append(message, args)
        return {"channel": channel, "ts": message["ts"]}

    def _append(self, message, args):
        text = args.get("markdown_text") or ""
        if len(text) > MAX_MARKDOWN_TEXT:
            raise SlackError("msg_too_long")
        message["text"] += text
        message["blocks"] = [{"type": "markdown", "text": message["text"]}]

    def _streaming(self, args):
        channel, message = self._own_message(args, "message_not_owned_by_app")
        started = self._streams.get((channel, message["ts"]))
        if started is None or time.monotonic() - started > self.stream_seconds:
            raise SlackError("message_not_in_streaming_state")
        return channel, message

    def _api_chat_appendStream(self, args):
        channel, message = self._streaming(args)
        if not (args.get("markdown_text") or args.get("chunks")):
            raise SlackError("no_text")
        self._append(message, args)
        return {"channel": channel, "ts": message["ts"]}

    def _api_chat_stopStream(self, args):
        channel, message = self._streaming(args)
        self._append(message, args)
        message["blocks"] += args.get("blocks") or []
        message |= {"metadata": args["metadata"]} if args.get("metadata") else {}
        del self._streams[channel, message["ts"]], message["streaming_state"]
        return {"channel": channel, "ts": message["ts"], "message": message}

    def _api_chat_update(self, args):
        """A stream must be over, by its end or its death."""
        key = args.get("channel"), args.get("ts")
        if time.monotonic() - self._streams.get(key, float("-inf")) < self.stream_seconds:
            raise SlackError("streaming_state_conflict")
        found = super()._api_chat_update(args)
        found["message"].pop("streaming_state", None)
        return found

    def _content(self, args):
        blocks = args.get("blocks") or []
        if sum(len(b["text"]) for b in blocks if b["type"] == "markdown") > MAX_MARKDOWN_TEXT:
            raise SlackError("msg_too_long")
        if len(json.dumps(blocks, ensure_ascii=False)) > MAX_BLOCKS:
            raise SlackError("msg_blocks_too_long")
        return super()._content(args)

    def _api_conversations_replies(self, args):
        """The first message comes along, however old it is."""
        page = super()._api_conversations_replies(args)
        root = self.find(args["channel"], args["ts"])
        if root["ts"] not in {message["ts"] for message in page["messages"]} and not args.get("cursor"):
            page["messages"].insert(0, self.shown(args["channel"], root, False))
        return page

    def _api_agents_sessions_setStatus(self, args):
        channel = self._channel(args, "channel_id")
        if args.get("status") not in SESSION_STATES or len(args.get("title") or "") > 200:
            raise SlackError("invalid_arguments")
        self.sessions.setdefault((channel, args.get("thread_ts")), []).append(args)
        return {}

    def _api_files_getUploadURLExternal(self, args):
        number = f"F9{next(self._upload_numbers)}"
        self.uploads[number] = {"name": args["filename"], "length": int(args["length"])}
        return {"file_id": number, "upload_url": f"{self.root_url}/upload/{number}"}

    async def _serve_upload(self, request):
        upload, content = self.uploads.get(request.match_info["file_id"]), await request.read()
        if upload is None or upload["length"] != len(content):
            return web.Response(status=400, text="bad length")
        upload["content"] = content
        return web.Response(text=f"OK - {len(content)}")

    def _api_files_completeUploadExternal(self, args):
        channel = self._channel({"channel": args.get("channel_id")})
        files = [self._shared(found) for found in json.loads(args["files"])]
        place = {"thread_ts": args["thread_ts"]} if args.get("thread_ts") else {}
        self._add_bot_message(channel, {"files": files, "upload": True, **place})
        return {"files": [{"id": file["id"], "title": file["title"]} for file in files]}

    def _shared(self, found):
        upload = self.uploads.pop(found["id"], {})
        if "content" not in upload:
            raise SlackError("file_not_found")
        self.files[found["id"]] = upload["content"]
        return {"id": found["id"], "name": upload["name"], "title": found["title"], "user": self.bot_user_id}

    def _api_files_delete(self, args):
        if self.files.pop(args.get("file"), None) is None:
            raise SlackError("file_not_found")
        for posts in self.messages.values():
            posts[:] = [p for p in posts if args["file"] not in {f["id"] for f in p.get("files") or ()}]
        return {}
