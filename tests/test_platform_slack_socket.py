"""Socket Mode's line: lost, replaced, and watched while it only looks alive."""

import pytest
from running import background
from slack_receiver import KeptPulse, Recorder, receiver_for, receiving
from slack_server import SlackServer


@pytest.fixture
async def server():
    async with SlackServer(ack_timeout=1.0) as server:
        yield server


async def test_a_socket_that_looks_alive_and_is_dead_is_replaced(server, store):
    """It answers the SDK's pings, and Slack's events go to it in vain: so it stayed for days."""
    server.ping_gap, pulse, intake = 0.05, KeptPulse(), Recorder()
    receiver = receiver_for(server, store, intake, pulse=pulse, silent_seconds=0.4)
    receiver._lines[0]._ping_seconds = 0.1
    async with background(receiver.run_forever()):
        (dead,) = await server.wait_for(lambda: list(server.sockets))
        await server.wait_for(lambda: pulse.told == ["connected"])
        server.silent.add(dead)
        await server.wait_for(lambda: pulse.told == ["connected", "silent", "connected"])
        assert dead not in server.sockets and len(server.sockets) == 1
        await server.say(server.dm_channel_id, "are you there?")
        await server.delivered()
    assert intake.texts == ["are you there?"]
    assert pulse.events == 1


async def test_a_quiet_line_that_slack_pings_is_left_alone(server, store):
    server.ping_gap, pulse = 0.05, KeptPulse()
    async with receiving(server, store, Recorder(), pulse=pulse, silent_seconds=0.3):
        (first,) = server.sockets
        pings = []
        first.ping, ping = (lambda *_: pings.append(1) or ping()), first.ping
        await server.wait_for(lambda: len(pings) > 12)
        assert list(server.sockets) == [first]
    assert pulse.told == ["connected"]


@pytest.mark.parametrize("how", ["close", "refresh"])
async def test_a_line_that_slack_ends_is_replaced(server, store, how):
    pulse, intake = KeptPulse(), Recorder()
    async with receiving(server, store, intake, pulse=pulse):
        await server.wait_for(lambda: pulse.told == ["connected"])
        await server.drop_connections(how)
        await server.wait_for(lambda: server.sockets)
        await server.say(server.dm_channel_id, "still there?")
        await server.delivered()
    assert intake.texts == ["still there?"]


async def test_a_line_that_slack_refuses_is_given_up_for_a_new_address(server, store):
    """The SDK tries an address again and again that Slack takes only once."""
    server.ping_gap, pulse, intake = 0.05, KeptPulse(), Recorder()
    async with receiving(server, store, intake, pulse=pulse, silent_seconds=0.4):
        await server.wait_for(lambda: pulse.told == ["connected"])
        server.refusals = 2
        await server.drop_connections()
        await server.wait_for(lambda: pulse.told[-2:] == ["silent", "connected"])
        await server.say(server.dm_channel_id, "still there?")
        await server.delivered()
    assert intake.texts == ["still there?"]
    assert not server.refusals


async def test_a_line_stays_lost_while_slack_gives_none_and_then_comes_back(server, store):
    server.ping_gap, pulse = 0.05, KeptPulse()
    async with receiving(server, store, Recorder(), pulse=pulse, silent_seconds=0.4):
        await server.wait_for(lambda: pulse.told == ["connected"])
        server.fail_next("apps.connections.open", "internal_error", times=3)
        await server.drop_connections()
        await server.wait_for(lambda: pulse.told[-2:] == ["silent", "connected"])
    assert len([call for call in server.calls if call.method == "apps.connections.open"]) >= 5
