"""Accounts of a broker and what they may do, and the files of Mosquitto's that say so. Pure, but for what is drawn."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from twin.errors import InvalidName

HASH_ITERATIONS: Final = 101  # Mosquitto's own default; the passwords are 256 random bits, stretching adds nothing

SALT_BYTES: Final = 12
NO_RULES_YET: Final = "topic deny #\n\n"
"""Begins an ACL file that may be left without accounts: one without any rule would allow all."""
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_ACCOUNT_RULE: Final = "1 to 128 characters A-Z, a-z, 0-9 and _ . @ -, not beginning with . @ or -"


class TopicAccess(StrEnum):
    """What a rule lets an account do."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "readwrite"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an account's ACL."""

    access: TopicAccess
    topic_filter: str


@dataclass(frozen=True, slots=True)
class Account:
    """A login of the local broker and the topics it may use; known by its password, or by the hash of one."""

    name: str
    password: str = field(default="", repr=False)
    rules: tuple[Rule, ...] = ()
    hashed: str = field(default="", repr=False)
    outside: bool = False
    """Whether it is a program of the user's, which may come by certificate; our own come by password only."""


def new_password() -> str:
    """Draw a password of 256 random bits."""
    return secrets.token_urlsafe(32)


def full_access(name: str, password: str) -> Account:
    """Make the hub's own account: every topic, the broker's $SYS and the dialects' $ trees included."""
    trees = ("#", "$SYS/#", "$hw/#", "$ke/#", "$aws/#")
    return Account(name, password, tuple(Rule(TopicAccess.READ_WRITE, tree) for tree in trees))


def acl_text(accounts: Sequence[Account]) -> str:
    """Write the text of the ACL file. Raises InvalidName for a name or filter that would break out of its line."""
    blocks = []
    for account in accounts:
        lines = [f"user {_checked_account(account.name)}"]
        lines += [f"topic {rule.access} {_checked_filter(rule.topic_filter)}" for rule in account.rules]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def anonymous_acl_text(rules: Sequence[Rule]) -> str:
    """Write the ACL file of a listener where clients have no user; one who claims a name gets nothing."""
    lines = [f"topic {rule.access} {_checked_filter(rule.topic_filter)}\n" for rule in rules]
    return NO_RULES_YET + "".join(lines)


def password_text(accounts: Sequence[Account], draw: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Write the text of the password file; ``draw`` gives that many random bytes."""
    lines = (
        f"{_checked_account(account.name)}:{account.hashed or password_hash(account.password, draw(SALT_BYTES))}"
        for account in accounts
    )
    return "".join(f"{line}\n" for line in lines)


def password_hash(password: str, salt: bytes, iterations: int = HASH_ITERATIONS) -> str:
    """Hash as mosquitto_passwd does: ``$7$iterations$salt$hash``, PBKDF2 with SHA-512."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _checked_account(name: str) -> str:
    if _ACCOUNT.fullmatch(name) is None:
        raise InvalidName(what="account", text=name, rule=_ACCOUNT_RULE)
    return name


def _checked_filter(topic_filter: str) -> str:
    if not topic_filter or not topic_filter.isprintable() or topic_filter != topic_filter.strip():
        raise InvalidName(what="ACL topic", text=topic_filter, rule="printable characters, no space at the ends")
    return topic_filter
