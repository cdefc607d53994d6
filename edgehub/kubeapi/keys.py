"""Who may use the local Kubernetes API: tokens made from one key, and the files by which clients find it. All 0600."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin.private_file import write_private

_LOCAL: Final = "local"
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Tokens:
    """Each token names its holder and proves it, so that none is kept, and a pod's is good as long as the pod."""

    key: bytes

    def local(self) -> str:
        """For programs of whoever may read the state folder."""
        return self._signed(_LOCAL)

    def of_pod(self, uid: str) -> str:
        """For one pod."""
        return self._signed(_holder(uid))

    def is_good(self, token: str, uids: Iterable[str]) -> bool:
        """Whether a token is the local one, or that of one of these pods."""
        holder = token.rpartition(".")[0]
        made_here = hmac.compare_digest(self._signed(holder).encode(), token.encode())
        return made_here and (holder == _LOCAL or holder in set(map(_holder, uids)))

    def _signed(self, holder: str) -> str:
        return f"{holder}.{hmac.new(self.key, holder.encode(), hashlib.sha256).hexdigest()}"


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """Where the files lie."""

    path: Path

    @property
    def ca(self) -> Path:
        """The certificate by which clients know the server."""
        return self.path / "ca.crt"

    @property
    def server(self) -> Path:
        """Key and certificate of the server."""
        return self.path / "server.pem"

    @property
    def token(self) -> Path:
        """The local token."""
        return self.path / "token"

    @property
    def kubeconfig(self) -> Path:
        """For programs on the gateway that are no pods; there while the API is on."""
        return self.path / "kubeconfig"

    def keep(self, place: Path, text: str) -> None:
        """See that a file says this; one that does is left alone, also by a full disk. Raises OSError."""
        try:
            if place.read_text(encoding="utf-8") == text:
                return
        except (OSError, ValueError):
            pass  # it is written anew
        write_private(place, text)

    def tokens(self) -> Tokens:
        """The key of all tokens, made at first use. Raises OSError."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        place = self.path / "key"
        try:
            key = bytes.fromhex(place.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            key = secrets.token_bytes(_KEY_BYTES)
            write_private(place, key.hex())
        return Tokens(key)


def _holder(uid: str) -> str:
    return f"pod-{hashlib.sha256(uid.encode()).hexdigest()[:32]}"


def kubeconfig(url: str, ca: str, token: str) -> str:
    """The file that clients outside of pods read; JSON, which is YAML too."""
    name = "edgetwin"
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca.encode()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2) + "\n"
