"""Encryption at rest: what opens, what does not, and where the master key comes from."""

import base64
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.envelope import Envelope, load_envelope
from bots.errors import StartError, Undecipherable
from bots.settings import Settings

KEY, OTHER = b"k" * 32, b"o" * 32
HEX = KEY.hex()
BASE64 = base64.b64encode(KEY).decode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_again(text):
    assert Envelope(KEY).open(Envelope(KEY).seal(text, "here"), "here") == text


def test_sealing_twice_looks_different_and_shows_nothing():
    first, second = (Envelope(KEY).seal("the same words", "here") for _ in range(2))
    assert first != second
    assert b"words" not in first


def test_another_key_does_not_open():
    with pytest.raises(Undecipherable, match="another master key"):
        Envelope(OTHER).open(Envelope(KEY).seal("text", "here"), "here")


def test_another_context_does_not_open():
    with pytest.raises(Undecipherable):
        Envelope(KEY).open(Envelope(KEY).seal("text", "here"), "there")


def test_no_byte_can_be_changed_and_none_left_out():
    sealed = Envelope(KEY).seal("text", "here")
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        for wrong in (changed, sealed[:at]):
            with pytest.raises(Undecipherable):
                Envelope(KEY).open(wrong, "here")


def test_an_index_is_the_same_for_the_same_parts_and_only_with_the_same_key():
    index = Envelope(KEY).index("author", "anna")
    assert index == Envelope(KEY).index("author", "anna")
    assert len({index, Envelope(KEY).index("authoranna"), Envelope(OTHER).index("author", "anna")}) == 3
    assert "anna" not in index


def is_sealed_with(envelope, key):
    return envelope.open(Envelope(key).seal("text", ""), "") == "text"


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    sealed = load_envelope(settings).seal("text", "")
    file = tmp_path / "data" / "master.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0
    content = file.read_bytes()
    assert load_envelope(settings).open(sealed, "") == "text"
    assert file.read_bytes() == content


def test_processes_that_start_together_end_up_with_one_key(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from bots.envelope import load_envelope; from bots.settings import Settings\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "print(load_envelope(Settings(data_dir=Path(sys.argv[1]))).index('x'))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "data"), str(time.time() + 1.5)]
    started = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = {process.communicate(timeout=20)[0] for process in started}
    assert len(outputs) == 1
    assert len(outputs.pop()) == 33


@pytest.mark.parametrize("text", [HEX, BASE64, f"  {BASE64}\n"])
def test_the_key_can_be_given_in_hex_and_base64(tmp_path, text):
    assert is_sealed_with(load_envelope(Settings(data_dir=tmp_path, master_key=text)), KEY)
    assert not list(tmp_path.iterdir())


def test_the_key_can_come_from_a_command(tmp_path):
    settings = Settings(data_dir=tmp_path, master_key_command=f"echo {BASE64}")
    assert is_sealed_with(load_envelope(settings), KEY)
    assert not list(tmp_path.iterdir())


def test_the_key_can_lie_in_the_data_folder(tmp_path):
    (tmp_path / "master.key").write_text(HEX)
    (tmp_path / "master.key").chmod(0o400)
    assert is_sealed_with(load_envelope(Settings(data_dir=tmp_path)), KEY)


def test_the_setting_beats_the_command_and_the_command_the_file(tmp_path):
    (tmp_path / "master.key").write_text(OTHER.hex())
    command = f"echo {HEX}"
    assert is_sealed_with(load_envelope(Settings(data_dir=tmp_path, master_key_command=command)), KEY)
    both = Settings(data_dir=tmp_path, master_key=HEX, master_key_command=f"echo {OTHER.hex()}")
    assert is_sealed_with(load_envelope(both), KEY)


@pytest.mark.parametrize("text", ["letmein", HEX[:-2], HEX + "00", "ü" * 32, BASE64[:-4], "=" * 44])
def test_a_bad_key_stops_the_start_and_is_not_printed(tmp_path, text):
    with pytest.raises(StartError, match="32 bytes") as caught:
        load_envelope(Settings(data_dir=tmp_path, master_key=text))
    assert text not in str(caught.value)


@pytest.mark.parametrize("command", ["/nowhere/program", "false"])
def test_a_command_that_fails_stops_the_start_and_names_the_setting(tmp_path, command):
    with pytest.raises(StartError, match="FRONTDESK_MASTER_KEY_COMMAND"):
        load_envelope(Settings(data_dir=tmp_path, master_key_command=command))
    assert not list(tmp_path.iterdir())
