"""The container files, as far as they can be checked without Docker: everything they name exists."""

import http.server
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
import redis as sync_redis
import yaml
from scripted import Leased

from bots import keys
from bots.build import open_store
from bots.cli import app
from bots.errors import StartError
from bots.message import Author, ConversationKey, Message
from bots.redis_server import find_server
from bots.settings import Settings, load_settings
from engine.library.library import DOCUMENTS_KEY, SAMPLE_PAGES, VERSION_KEY, Library
from engine.settings import secret_fields

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def merged(base, overlay):
    """Compose's way to lay one file over another, as far as ours need it."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    return {
        **base,
        **{name: merged(base[name], value) if name in base else value for name, value in overlay.items()},
    }


def stages():
    """The Dockerfile's stages: name to (parent, instructions), continuation lines joined."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    found, current = {}, []
    for line in text.splitlines():
        if start := re.match(r"FROM (\S+) AS (\S+)", line):
            current = []
            found[start[2]] = (start[1], current)
        elif line and not line.startswith("#"):
            current.append(line)
    return found


def instructions(target):
    """Everything that goes into an image, from its base on."""
    parent, own = stages()[target]
    return [*(instructions(parent) if parent in stages() else []), *own]


BASE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
GPU = merged(BASE, yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text()))
SERVICES = [
    pytest.param(compose, service, id=f"{name}-{service}")
    for name, compose in (("cpu", BASE), ("gpu", GPU))
    for service in compose["services"]
]
OURS = sorted(set(BASE["services"]) - {"redis"})


@pytest.mark.parametrize(("compose", "name"), SERVICES)
def test_every_service_is_locked_down(compose, name):
    service = compose["services"][name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["stop_grace_period"] == "30s"
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    if name == "web":
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    else:
        assert "ports" not in service
    assert all(str(part) == part for part in service["command"]), "YAML reads a bare yes as true"


def test_the_grace_period_outlasts_the_drain():
    from bots.worker import _DRAIN_SECONDS

    assert int(BASE["services"]["worker"]["stop_grace_period"].removesuffix("s")) > _DRAIN_SECONDS + 5


@pytest.mark.parametrize(("compose", "name"), SERVICES)
def test_what_a_service_names_is_declared(compose, name):
    service = compose["services"][name]
    assert set(service["secrets"]) <= set(compose["secrets"])
    assert set(service["networks"]) <= set(compose["networks"])
    assert set(service.get("depends_on", {})) <= set(compose["services"])
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (DOCKER / source).is_dir() if source.startswith(".") else source in compose["volumes"]
    used = re.findall(r"/run/secrets/(\w+)", str(service))
    assert set(used) == set(service["secrets"]), "mounted but not used, or used but not mounted"
    for needed, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        has_check = "healthcheck" in compose["services"][needed]
        assert has_check or any(
            "HEALTHCHECK" in line for line in instructions(compose["services"][needed]["build"]["target"])
        )


def test_slack_over_http_reaches_its_server_and_nobody_elses():
    overlay = yaml.safe_load((DOCKER / "compose.slack.yaml").read_text())["services"]
    assert all(set(service) <= {"environment", "ports"} for service in overlay.values())
    for name, service in overlay.items():
        known = {f"FRONTDESK_{field.upper()}" for field in Settings.model_fields}
        assert set(service["environment"]) <= known
        assert "FRONTDESK_SLACK_CLIENT_SECRET_FILE" in BASE["services"][name]["environment"]
    port = Settings.model_fields["slack_port"].default
    assert overlay["slack"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_who_offers_commands_has_the_plugins_that_run_them():
    for name in ("worker", "discord", "slack"):
        assert BASE["services"][name]["environment"]["FRONTDESK_PLUGINS"] == "/plugins"
        assert "./plugins:/plugins:ro" in BASE["services"][name]["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_settings_and_commands_exist(name):
    service = BASE["services"][name]
    known = {f"FRONTDESK_{field.upper()}" for field in Settings.model_fields}
    known |= {f"FRONTDESK_{field.upper()}_FILE" for field in secret_fields(Settings)}
    assert set(service["environment"]) <= known
    commands = {found.name or found.callback.__name__ for found in app.registered_commands}
    assert service["command"][0] in commands
    assert "learn" in commands, "compose.yaml tells people to run it"


def test_every_process_shares_redis_and_only_the_chat_side_the_master_key():
    for name in OURS:
        secrets = set(BASE["services"][name]["secrets"])
        assert "redis_url" in secrets, name
        assert ("master_key" in secrets) == (name != "engine"), name
    assert BASE["networks"]["backend"] == {"internal": True}
    assert BASE["services"]["redis"]["networks"] == ["backend"]


@pytest.mark.parametrize(("compose", "name"), SERVICES)
def test_images_are_pinned_and_targets_exist(compose, name):
    service = compose["services"][name]
    tag = service["image"].partition(":")[2]
    assert re.fullmatch(r"\d+\.\d+\.\d+", tag)
    if "build" in service:
        assert tag == PROJECT["version"]
        assert service["build"]["target"] in stages()
        assert service["image"] == f"frontdesk-{service['build']['target']}:{tag}"
        assert (DOCKER / service["build"]["context"]).resolve() == ROOT


def test_the_dockerfile_fits_the_repository():
    outside = {parent for parent, _ in stages().values()} - set(stages())
    assert outside == {"python:3.12-slim-bookworm"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for target in stages():
        for line in instructions(target):
            if line.startswith("COPY "):
                *sources, _ = line.split()[1:]
                for source in sources:
                    assert (ROOT / source).exists(), source
                    assert f"!{source}" in ignored, f"{source} would not reach the builder"
    for target in ("bots", "engine-cpu", "engine-cuda"):
        assert "USER 10001:10001" in instructions(target)
        assert "VOLUME /data" in instructions(target)
        assert any(line.startswith("HEALTHCHECK") for line in instructions(target))
        assert f'image.version="{PROJECT["version"]}"' in " ".join(instructions(target))


def test_only_the_engine_gets_torch():
    torch = next(line for line in PROJECT["optional-dependencies"]["engine"] if line.startswith("torch"))
    embedder = PROJECT["optional-dependencies"]["embedder"][0]
    assert not any("torch" in dependency for dependency in PROJECT["dependencies"])
    assert not re.search(r"torch|engine\.txt|--extra", " ".join(instructions("bots")))
    for target in ("engine-cpu", "engine-cuda"):
        steps = [line for line in instructions(target) if line.startswith("RUN") and "pip install" in line]
        assert torch in steps[0], "torch first and alone"
        assert re.search(rf"--no-deps [^&]*{re.escape(embedder)}", " ".join(steps))


def test_the_requirements_program_writes_the_lists(tmp_path):
    program = re.search(r"<<'PROGRAM'\n(.*?)\nPROGRAM\n", (DOCKER / "Dockerfile").read_text(), re.DOTALL)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, "-c", program[1]], cwd=tmp_path, check=True)
    assert (tmp_path / "bots.txt").read_text().splitlines() == PROJECT["dependencies"]
    engine = (tmp_path / "engine.txt").read_text().splitlines()
    assert engine == PROJECT["optional-dependencies"]["engine"]


@pytest.fixture
def secrets(tmp_path):
    """What make-secrets.sh makes, and how to call it again."""
    script = shutil.copy(DOCKER / "make-secrets.sh", tmp_path)

    def call(*arguments, value=None):
        return subprocess.run([script, *arguments], input=value, capture_output=True, text=True)

    assert call().returncode == 0
    return tmp_path / "secrets", call


def test_secrets_are_private_and_kept(secrets, monkeypatch):
    folder, call = secrets
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in BASE["secrets"].values()}
    assert all(BASE["secrets"][name] == {"file": f"secrets/{name}"} for name in made)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    if os.getuid() == 0:
        owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()}
        for service in BASE["services"].values():
            user = tuple(map(int, service["user"].split(":")))
            assert all(owners[name] == user for name in service["secrets"])

    assert call("discord_token", value="first-token").returncode == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        **made,
        "discord_token": "first-token\n",
    }
    refused = call("redis_password", value="mine")
    assert refused.returncode == 2
    assert "discord_token" in refused.stderr

    for name, value in BASE["services"]["worker"]["environment"].items():
        monkeypatch.setenv(name, value.replace("/run/secrets", str(folder)))
    settings = load_settings()
    assert settings.discord_token.get_secret_value() == "first-token"
    assert settings.slack_bot_token is None, "an empty file is no token"
    assert settings.redis_url.get_secret_value().endswith("@redis:6379/0")
    assert settings.engine_address == "http://engine:8717"
    assert len(bytes.fromhex(settings.master_key.get_secret_value())) == 32


@pytest.fixture
def composed_redis(secrets, tmp_path):
    """A Redis with compose.yaml's options and the made access list, on a private socket: (URL, socket)."""
    folder, _ = secrets
    try:
        server = find_server()
    except StartError as error:
        pytest.skip(str(error))
    paths = {"/run/secrets/redis_acl": str(folder / "redis_acl"), "/data": str(tmp_path)}
    options = [paths.get(option, option) for option in BASE["services"]["redis"]["command"]]
    socket = tmp_path / "r.sock"
    log = (tmp_path / "redis.log").open("wb")
    process = subprocess.Popen([server, "--port", "0", "--unixsocket", str(socket), *options], stdout=log)
    password = (folder / "redis_password").read_text().strip()
    for _ in range(200):
        if socket.exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    assert process.poll() is None, (tmp_path / "redis.log").read_text()
    yield f"unix://frontdesk:{password}@{socket}", str(socket)
    process.terminate()
    process.wait(10)
    log.close()


def test_the_access_list_lets_frontdesk_work_and_nothing_else(composed_redis):
    url, socket = composed_redis
    with sync_redis.Redis.from_url(url, retry=None) as client:
        assert client.set("frontdesk:a", 1, nx=True, px=5000)
        assert client.eval("return redis.call('GET', KEYS[1])", 1, "frontdesk:a") == b"1"
        digest = client.script_load("return redis.call('HSET', KEYS[1], 'f', ARGV[1])")
        assert client.evalsha(digest, 1, "frontdesk:h", "v") == 1
        client.hset("frontdesk:h", "g", "w")
        client.xadd("frontdesk:s", {"m": "x"}, maxlen=10, approximate=True)
        client.xgroup_create("frontdesk:s", "group", id="0")
        assert client.xreadgroup("group", "me", {"frontdesk:s": ">"}, count=1, block=10)
        assert client.xautoclaim("frontdesk:s", "group", "me", min_idle_time=0)[1]
        assert {b"frontdesk:h", b"frontdesk:s"} <= set(client.scan_iter(match="frontdesk:*"))
        assert client.info("server")["redis_version"], "`frontdesk doctor` looks"
        with client.pipeline() as pipe:
            pipe.incr("frontdesk:n").expire("frontdesk:n", 9).sadd("frontdesk:set", "x").delete("frontdesk:n")
            assert pipe.execute()[0] == 1
        denied = [
            "FLUSHALL",
            "FLUSHDB",
            "CONFIG GET dir",
            "KEYS *",
            "SHUTDOWN",
            "ACL LIST",
            "MONITOR",
            "SET elsewhere 1",
            "PUBLISH channel x",
        ]
        for command in denied:
            with pytest.raises(sync_redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
    # Nobody without the password: not the default user, not the right one with another password.
    for stranger in (f"unix://{socket}", f"unix://default:@{socket}", f"unix://frontdesk:wrong@{socket}"):
        with (
            sync_redis.Redis.from_url(stranger, retry=None) as client,
            pytest.raises((sync_redis.AuthenticationError, sync_redis.exceptions.NoPermissionError)),
        ):
            client.ping()


async def test_frontdesk_itself_works_under_the_access_list(composed_redis, settings):
    url, _ = composed_redis
    assert all(key.startswith("frontdesk:") for key in (DOCUMENTS_KEY, VERSION_KEY, keys.inbox(0), keys.JOBS))
    conversation = ConversationKey("web", "local", "s")
    message = Message("m1", conversation, Author("a"), "My mail is a@example.com", is_private=True)
    async with open_store(settings, url) as store:
        assert {result.status for result in await Library(store.redis).learn([SAMPLE_PAGES])} == {"added"}
        assert await store.intake.receive(message)
        leased = Leased(store)
        [entry] = await leased.take()
        await (await leased.record(message)).begin()
        await store.relay.publish(conversation, {"kind": "typing"})
        assert await store.relay.position(conversation) != "0-0"
        await leased.finish(entry)
        assert await store.inbox.backlog() == 0
        assert len(await store.vault.values(conversation, "a")) == 1
        await leased.partitions.leave()


def health(*arguments, **environment):
    """healthcheck.py's exit status and what it said."""
    done = subprocess.run(
        [sys.executable, DOCKER / "healthcheck.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_the_health_check_over_http():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/ready" else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert health(f"{url}/ready")[0] == 0
        assert health(f"{url}/busy")[0] == 1
        server.shutdown()
    assert health(f"{url}/ready")[0] == 1


def test_the_health_check_of_redis_and_worker(composed_redis, tmp_path):
    url, _ = composed_redis
    file = tmp_path / "url"
    file.write_text(url)
    given = {"FRONTDESK_REDIS_URL_FILE": str(file)}
    assert health("redis", **given)[0] == 0
    assert health("worker", **given)[0] == 1
    with sync_redis.Redis.from_url(url) as client:
        client.hset(keys.WORKERS, "somebody", f"{int(time.time() + 60) * 1000} 0")
    assert health("worker", **given)[0] == 0
    status, said = health("redis", FRONTDESK_REDIS_URL="redis://frontdesk:hush@127.0.0.1:1/0")
    assert status == 1
    assert "hush" not in said


def test_redis_cli_is_not_believed_by_its_exit_status(tmp_path):
    kind, command = BASE["services"]["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    command = command.replace("$$", "$").replace("/run/secrets/redis_password", "/dev/null")
    fake = tmp_path / "redis-cli"
    for answer, is_well in (("PONG", True), ("NOAUTH Authentication required.", False)):
        fake.write_text(f"#!/bin/sh\necho '{answer}'\n")
        fake.chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(["sh", "-c", command], env={"PATH": path})
        assert (done.returncode == 0) is is_well
