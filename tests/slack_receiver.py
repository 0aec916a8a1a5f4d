"""The receiving half of Slack inside a test: as `frontdesk slack` makes it, with what it hands on kept."""

import contextlib
from dataclasses import replace

from running import background

from bots.build import load_plugins
from bots.platforms import slack
from bots.pulse import Pulse
from bots.registry import Registry
from bots.settings import Settings


class Recorder:
    """An intake that keeps what it is given; each of `errors` is raised once before."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.messages, self.claims, self.changes, self.ratings = [], [], [], []

    async def receive(self, message, also=()):
        self._fail()
        names = {message.id, *also}
        if names & {name for names in self.claims for name in names}:
            return False
        self.messages.append(message)
        self.claims.append(names)
        return True

    async def change(self, change, event_id=""):
        self._fail()
        self.changes.append(change)

    async def rate(self, rating):
        self._fail()
        self.ratings.append(rating)

    def _fail(self):
        if self.errors:
            raise self.errors.pop(0)

    @property
    def texts(self):
        return [message.text for message in self.messages]


class KeptPulse:
    """A pulse that keeps every change it is told of."""

    def __init__(self):
        self.told, self.events, self._state = [], 0, "reconnecting"

    def event(self):
        self.events += 1

    def connected(self):
        self._tell("connected")

    def lost(self, reason, state="reconnecting"):
        self._tell(state)

    def _tell(self, state):
        if state != self._state:
            self.told.append(state)
        self._state = state


def registry_of(source, tmp_path):
    """The commands of a plugin file, without those that come with frontdesk."""
    path = tmp_path / "orders.py"
    path.write_text(source)
    registry = Registry()
    registry.load([str(path)])
    assert not registry.problems
    return registry


def settings_for(server, **changes):
    """By Socket Mode, unless changed."""
    tokens = {"slack_bot_token": server.bot_token, "slack_app_token": server.app_token}
    return Settings(**{**tokens, "slack_api_url": server.api_url, **changes})


def receiver_for(server, store, intake=None, *, registry=None, silent_seconds=60, pulse=None, **changes):
    """A receiver, not yet running."""
    settings = settings_for(server, **changes)
    pulse = pulse or Pulse(store.redis, "slack")
    store = replace(store, intake=intake) if intake else store
    registry = registry or load_plugins(settings)
    return slack.make_receiver(settings, store, registry, pulse, silent_seconds=silent_seconds)


@contextlib.asynccontextmanager
async def receiving(server, store, intake=None, **changes):
    """A receiver that is connected."""
    async with background(receiver_for(server, store, intake, **changes).run_forever()):
        await server.wait_for(lambda: server.sockets)
        yield
