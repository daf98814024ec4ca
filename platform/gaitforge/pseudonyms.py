"""Pseudonyms: ids of people and recordings replaced by keyed hashes, the key kept outside the work folder.

Who has the key can work out a pseudonym from an id (HMAC-SHA-256, RFC 2104), nobody can go the other way.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from gaitforge.recording import Recording, Rejected, find_kind
from gaitforge.regular_file import read_regular

VARIABLE = "GAITFORGE_PSEUDONYM_KEY"  # names the file of the key
KEY_BYTES = 32
DIGITS = (
    16  # of a pseudonym, in hex: of a million people two are alike once in some 30 million sets
)
_WHAT = "The key of pseudonyms"
_REMEDY = f"let {VARIABLE} name the file that holds it"


def find_key() -> Path:
    """Return where the key lies: the file that GAITFORGE_PSEUDONYM_KEY names, else one below the user's home."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path.home() / ".gaitforge" / "pseudonym.key"


def draw_key(path: Path) -> None:
    """Write a new key that this user alone may read, unless there is one; raises OSError where it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # never readable by others, not even for a moment; a key of another process is not written over
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
    except FileExistsError:
        return
    except OSError as error:
        raise type(error)(
            f"{_WHAT} {path} cannot be written ({error.strerror}); {_REMEDY}."
        ) from error


def read_key(path: Path) -> bytes:
    """Read the key; raises OSError where it cannot be read, ValueError where it is none."""
    text = read_regular(path, _WHAT, _REMEDY, 1000).strip()
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise ValueError(f"{path} holds no key of {KEY_BYTES} bytes in hex; {_REMEDY}.")
    return key


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """Return the pseudonym of a name of a kind ("person", "recording", "file"), such as "person-0123456789abcdef"."""
    digest = hmac.new(key, f"{kind}\0{name}".encode(), hashlib.sha256)
    return f"{kind}-{digest.hexdigest()[:DIGITS]}"


def pseudonymise(
    items: Iterable[Recording | Rejected], key: bytes, keep: Collection[str]
) -> Iterator[Recording | Rejected]:
    """Yield recordings without the names that their files have; reasons of rejected ones lose what they quote.

    Further columns of numbers stay; raises ValueError for one of text that is not in `keep`.
    """
    for item in items:
        person = pseudonym(key, "person", item.person)
        name = pseudonym(key, "recording", item.recording)
        if isinstance(item, Rejected):
            yield replace(
                item,
                source=pseudonym(key, "file", item.source),
                person=person,
                reason=find_kind(item.reason),
                recording=name,
            )
            continue
        for column, value in item.columns.items():
            if isinstance(value, str) and column not in keep:
                raise ValueError(
                    f"The column '{column}' is text, which may tell who a person is; name it in ingest.keep_columns if "
                    "it does not, or leave it out of the files."
                )
        yield replace(item, person=person, recording=name)
