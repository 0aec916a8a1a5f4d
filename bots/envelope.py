"""Everything at rest is sealed in one versioned envelope: AES-256-GCM with its context authenticated.

Layout: version (1 byte), key id (4), nonce (12), ciphertext and tag. The context (what it is and which
conversation it belongs to) is not stored but must be named again to open it, so that no entry can be
moved somewhere else.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import subprocess
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bots.errors import StartError, Undecipherable
from bots.message import ConversationKey
from bots.settings import Settings, folder, secret

_VERSION = b"\x01"
_NONCE = 12
_KEY_ID = 4


class Envelope:
    """Seals and opens with keys derived from one master key. Safe to share."""

    def __init__(self, master_key: bytes) -> None:
        self._cipher = AESGCM(_derive(master_key, b"frontdesk envelope v1"))
        self._index_key = _derive(master_key, b"frontdesk index v1")
        self._key_id = hashlib.sha256(_derive(master_key, b"frontdesk key id v1")).digest()[:_KEY_ID]

    def seal(self, text: str, context: str) -> bytes:
        """Encrypt `text` for this context."""
        nonce = os.urandom(_NONCE)
        header = _VERSION + self._key_id
        return header + nonce + self._cipher.encrypt(nonce, text.encode(), header + context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """Decrypt. Raises `Undecipherable` for another key, another context or a changed byte."""
        header, nonce = sealed[: 1 + _KEY_ID], sealed[1 + _KEY_ID : 1 + _KEY_ID + _NONCE]
        if header != _VERSION + self._key_id:
            raise Undecipherable("sealed with another master key, or by another version of frontdesk")
        try:
            opened = self._cipher.decrypt(nonce, sealed[1 + _KEY_ID + _NONCE :], header + context.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: cut short within the nonce
            raise Undecipherable("the stored bytes were changed, or belong somewhere else") from error
        return opened.decode()

    def index(self, *parts: str) -> str:
        """A keyed name for something that must be found again but not be read: 32 hex digits."""
        message = "\0".join(parts).encode()
        return hmac.new(self._index_key, message, hashlib.sha256).hexdigest()[:32]

    def author_index(self, conversation: ConversationKey, author_id: str) -> str:
        """The keyed name of a person in a workspace."""
        return self.index("author", conversation.platform, conversation.workspace, author_id)


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    """A 256-bit key for one purpose (HKDF, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master_key)


def load_envelope(settings: Settings) -> Envelope:
    """The master key from the setting, a command, or the key file, which is created on first use.

    Raises `StartError` for a key that is no 32 bytes of base64 or hex.
    """
    text = secret(settings.master_key)
    if text is None and settings.master_key_command:
        text = _from_command(settings.master_key_command)
    if text is None:
        text = _from_file(folder(settings.data_dir) / "master.key")
    return Envelope(_decode(text.strip()))


def _from_command(command: str) -> str:
    try:
        return subprocess.run(command.split(), capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"FRONTDESK_MASTER_KEY_COMMAND failed: {type(error).__name__}") from error


def _from_file(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        if key := path.read_text():
            return key
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # processes that start together must end up with one key
        if not (key := file.read()):
            key = base64.b64encode(os.urandom(32)).decode() + "\n"
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    return key


def _decode(text: str) -> bytes:
    for decode in (bytes.fromhex, base64.b64decode):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == 32:
            return key
    raise StartError(
        "the master key must be 32 bytes in base64 or hex; make one with: head -c 32 /dev/urandom | base64"
    )
