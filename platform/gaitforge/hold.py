"""One command at a time writes into a work folder: a hold that ends with its owner, whatever ends that.

On a disk it is a lock of the operating system, which knows when a process has gone, also one on another machine
where the disk is mounted with locks (NFS from version 4 on). On S3 it is a lease: an object that its owner writes
anew again and again, and that somebody else may take once it has stayed the same for LEASE_S seconds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gaitforge.work import on_s3

if TYPE_CHECKING:
    from gaitforge.s3 import S3Path

NAME = ".held"
LEASE_S = 60.0
RENEW_S = 10.0
LOOK_S = 1.0  # between two looks at somebody else's lease
# what a mounted disk without locks answers
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Held(RuntimeError):
    """The error for a work folder in which another command works."""

    def __init__(self, root: Path, owner: Owner | None) -> None:
        who = "another command" if owner is None else str(owner)
        super().__init__(
            f"In {root} works {who}, and two would do the same work twice; wait for its end, stop it, or choose "
            "another folder in 'work'."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The process that holds a folder."""

    command: str
    pid: int
    host: str
    since: str
    place: str  # in which a number means this process and no other: boot and container
    id: str

    @classmethod
    def me(cls, command: str) -> Owner:
        return cls(
            command=command,
            pid=os.getpid(),
            host=platform.node(),
            since=datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
            place=_place(),
            id=uuid.uuid4().hex,
        )

    @classmethod
    def read(cls, text: bytes) -> Owner | None:
        """Read what an owner wrote of itself; None where it cannot be read, which hinders nobody."""
        try:
            told = json.loads(text)
            return cls(**{name: told[name] for name in cls.__dataclass_fields__})
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def __str__(self) -> str:
        return (
            f"`gaitforge {self.command}` (process {self.pid} on {self.host}, since {self.since})"
        )

    def has_ended(self) -> bool:
        """Tell whether it is known to have ended: of another machine or container that cannot be told."""
        if not self.place or self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False


@contextmanager
def hold(
    root: Path,
    command: str,
    say: Callable[[str], None],
    lost: Callable[[], None],
    lease_s: float = LEASE_S,
) -> Iterator[None]:
    """Hold a work folder for the block; raises Held where another command does.

    `say` tells what is waited for. `lost` is called, in another thread, where the block goes on though its lease
    has been taken, as after a sleep of this machine.
    """
    me = Owner.me(command)
    if remote := on_s3(root):
        with _lease(remote, me, say, lost, lease_s):
            yield
    else:
        with _lock(root, me, say):
            yield


@contextmanager
def _lock(root: Path, me: Owner, say: Callable[[str], None]) -> Iterator[None]:
    # never removed: somebody else may have opened it already, and would lock what is gone
    path = root / NAME
    mine = not path.exists() or os.access(path, os.W_OK)  # else of another user of a shared folder
    with path.open("a+b" if mine else "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Held(root, Owner.read(file.read())) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say(f"  the disk of {root} has no locks: see to it that no other command works there")
        if mine:
            file.truncate(0)
            file.write(json.dumps(asdict(me)).encode())
            file.flush()
        try:
            yield
        finally:
            if mine:
                file.truncate(0)  # a work folder at rest is the same whoever worked there


@contextmanager
def _lease(
    root: S3Path, me: Owner, say: Callable[[str], None], lost: Callable[[], None], lease_s: float
) -> Iterator[None]:
    path = root / NAME
    tag = _take(path, me, say, lease_s)
    over = threading.Event()

    def renew() -> None:
        mine, times = tag, 0
        while not over.wait(min(RENEW_S, lease_s / 6)):
            times += 1
            with suppress(ConnectionError):  # tried again, as long as nobody takes it
                renewed = path.write_over(mine, _content(me, times))
                if renewed is None:
                    # an answer that was lost on its way leaves our own content there
                    renewed = path.stat().etag if _is_mine(path, me) else None
                if renewed is None:
                    lost()
                    return
                mine = renewed

    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(OSError):
            if _is_mine(path, me):
                path.unlink(missing_ok=True)


def _take(path: S3Path, me: Owner, say: Callable[[str], None], lease_s: float) -> str:
    """Write the lease and return its tag; raises Held once somebody else is seen to renew theirs."""
    seen: str | None = None
    since = time.monotonic()
    while True:
        if path.write_once(_content(me, 0)):
            return path.stat().etag
        try:
            tag, owner = path.stat().etag, Owner.read(path.read_bytes())
        except FileNotFoundError:
            continue  # it has just ended
        if seen is None:
            seen, since = tag, time.monotonic()
            if owner is None or not owner.has_ended():
                say(f"  {owner or 'another command'} holds {path.parent}: is it there still?")
        elif tag != seen:
            raise Held(path.parent, owner)  # type: ignore[arg-type]  # as open_path does
        if (owner is not None and owner.has_ended()) or time.monotonic() - since > lease_s:
            mine = path.write_over(tag, _content(me, 0))
            if mine is not None:
                return mine
        else:
            time.sleep(min(LOOK_S, lease_s / 6))


def _content(me: Owner, times: int) -> bytes:
    """Return a lease; a tag is of the content, so that this must be another one each time."""
    return json.dumps(asdict(me) | {"renewed": times}).encode()


def _is_mine(path: S3Path, me: Owner) -> bool:
    try:
        owner = Owner.read(path.read_bytes())
    except FileNotFoundError:
        return False
    return owner is not None and owner.id == me.id


def _place() -> str:
    """Return what tells apart two places where the same number is another process; "" where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
