"""S3Path: what this project uses of `pathlib.Path`, over the objects of a bucket.

A folder is whatever lies below its name, so none is ever made, and an empty one is not there; empty
objects are no files, since other programs mark folders by them, and none of ours is empty. A PUT is
atomic, so that no file needs a draft. There is deliberately no `__fspath__`: a library that is
given such a path must fail instead of working in a local folder named "s3:". Address and keys come
from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, ...).
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import S3Store
except ImportError as error:
    raise ValueError(
        "A folder on S3 needs the package obstore, which is not installed; run `pip install 'gaitforge[s3]'`."
    ) from error

if TYPE_CHECKING:
    from obstore import ObjectMeta

PREFIX = "s3://"
# plain names alone: the Delta log decodes a '%', and quotes what is not ASCII
PLAIN = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9_.=+-]+)*/?")
# A store that does not answer is told in half a minute: the library's own patience is three.
PATIENCE = timedelta(seconds=30)
BUFFER = 2**20  # bytes of one read within a large file


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What `stat` tells, under the names of os.stat_result; `etag` changes with the content.

    Of a folder: when, and with how many of its own files and folders, it changed last.
    """

    st_mtime: float
    st_size: int
    etag: str

    @property
    def st_mtime_ns(self) -> int:
        return int(self.st_mtime * 1e9)

    @classmethod
    def from_meta(cls, meta: ObjectMeta) -> Status:
        # LastModified has whole seconds, in which a file may change twice: its tag tells
        return cls(
            st_mtime=meta["last_modified"].timestamp(),
            st_size=meta["size"],
            etag=str(meta["e_tag"]),
        )


class S3Path:
    """A file or a folder of a bucket; `Path`'s methods mean what they mean there."""

    __slots__ = ("_listed", "bucket", "key")

    def __init__(self, bucket: str, key: PurePosixPath, listed: Status | None = None) -> None:
        self.bucket = bucket
        self.key = key
        # as os.DirEntry does: `stat` of what a listing gave costs no request, and is of that time
        self._listed = listed

    @classmethod
    def parse(cls, text: str) -> S3Path:
        """Parse s3://bucket/folder; raise ValueError where the text is no such plain address."""
        if not PLAIN.fullmatch(text) or ".." in text.split("/"):
            raise ValueError(
                f"'{text}' is no folder on S3 that can be used; write s3://bucket/folder with letters, digits "
                "and _ . = + - alone."
            )
        bucket, _, key = text.removeprefix(PREFIX).partition("/")
        return cls(bucket, PurePosixPath(key))

    # what pathlib.PurePath does

    def __truediv__(self, other: str | PurePosixPath) -> S3Path:
        return S3Path(self.bucket, self.key / other)

    def __str__(self) -> str:
        return f"{PREFIX}{self.bucket}" + (f"/{self._name}" if self._name else "")

    def __repr__(self) -> str:
        return f"S3Path({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Path) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: S3Path) -> bool:
        return (self.bucket, self.key) < (other.bucket, other.key)

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def stem(self) -> str:
        return self.key.stem

    @property
    def suffix(self) -> str:
        return self.key.suffix

    @property
    def parent(self) -> S3Path:
        return S3Path(self.bucket, self.key.parent)

    def with_name(self, name: str) -> S3Path:
        return S3Path(self.bucket, self.key.with_name(name))

    def with_suffix(self, suffix: str) -> S3Path:
        return S3Path(self.bucket, self.key.with_suffix(suffix))

    def relative_to(self, other: S3Path) -> PurePosixPath:
        return self.key.relative_to(other.key)

    def resolve(self) -> S3Path:
        return self

    absolute = expanduser = resolve

    # what is there

    def stat(self) -> Status:
        """Return size and time; raise FileNotFoundError where there is neither a file nor a folder."""
        if self._listed is not None:
            return self._listed
        with self._name_errors():
            try:
                if self._name:
                    return Status.from_meta(obstore.head(self._store, self._name))
            except FileNotFoundError:
                pass
            return self._folder_status()

    def is_file(self) -> bool:
        with self._name_errors():
            try:
                return bool(self._name and obstore.head(self._store, self._name))
            except FileNotFoundError:
                return False

    def is_dir(self) -> bool:
        with self._name_errors():
            return next(self._all_below(), None) is not None

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[S3Path]:
        with self._name_errors():
            found = obstore.list_with_delimiter(self._store, self._name or None)
        for folder in found["common_prefixes"]:
            yield S3Path(self.bucket, PurePosixPath(folder))
        yield from self._paths(found["objects"])

    def glob(self, pattern: str) -> Iterator[S3Path]:
        """Yield of the pattern "*/a/b" files alone, of "*" the folder's own files and folders."""
        if "/" not in pattern:
            yield from (path for path in self.iterdir() if _fits(path.key, pattern))
            return
        depth = pattern.count("/") + 1
        for path in self._all_below():
            if len(self._below(path).parts) == depth and _fits(self._below(path), pattern):
                yield path

    def rglob(self, pattern: str) -> Iterator[S3Path]:
        """Yield the files at any depth whose names fit."""
        yield from (path for path in self._all_below() if _fits(path.key, pattern))

    # files

    def read_bytes(self) -> bytes:
        with self._name_errors():
            return bytes(obstore.get(self._store, self._name).bytes())

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open a file to read in, of which only what is asked for is fetched."""
        if mode != "rb":
            raise ValueError(f"{self} cannot be opened as '{mode}', but only to read ('rb').")
        return io.BufferedReader(_Reader(self), BUFFER)

    def write_bytes(self, data: bytes) -> None:
        """Write by one PUT: a reader sees the old file or the new one."""
        with self._name_errors(absent="there is no such bucket"):
            obstore.put(self._store, self._name, data)

    def upload(self, source: Path) -> None:
        """Write a file of this machine's disk, a large one in parts: a reader sees the old file or the new one."""
        with self._name_errors(absent="there is no such bucket"):
            obstore.put(self._store, self._name, source)

    def write_once(self, data: bytes) -> bool:
        """Write by one conditional PUT; return False, and write nothing, where the file exists already."""
        with self._name_errors(absent="there is no such bucket"):
            try:
                obstore.put(self._store, self._name, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def write_over(self, etag: str, data: bytes) -> str | None:
        """Write by one PUT over the content with this tag; return the new tag, None where the content is another."""
        with self._name_errors(absent="there is no such bucket"):
            try:
                done = obstore.put(self._store, self._name, data, mode={"e_tag": etag})
            except (PreconditionError, FileNotFoundError):
                return None
        return str(done["e_tag"])

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there with its first file."""

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(f"{self}: it is not there.")
        with self._name_errors():
            obstore.delete(self._store, self._name)

    def rename(self, target: S3Path) -> S3Path:
        """Move a file, or a folder with all in it, into a target that is not there.

        It is copied, then deleted, the files nearest to the folder last: where a kill comes in
        between, nothing is lost, and a folder that is known by a file of its own is still known.
        """
        paths = [self] if self.is_file() else list(self._all_below())
        with self._name_errors():
            for path in paths:
                copy = target / self._below(path) if path != self else target
                obstore.copy(self._store, path._name, copy._name)
            self._delete(paths)
        return target

    replace = rename

    def remove_tree(self) -> None:
        """Delete all below the folder, the files nearest to it last."""
        with self._name_errors():
            self._delete(list(self._all_below()))

    @property
    def _name(self) -> str:
        return "" if self.key == PurePosixPath(".") else str(self.key)

    @property
    def _store(self) -> S3Store:
        return _store(self.bucket, tuple(sorted(own_options().items())))

    def _all_below(self) -> Iterator[S3Path]:
        with self._name_errors():
            for objects in obstore.list(self._store, self._name or None, chunk_size=1000):
                yield from self._paths(objects)

    def _paths(self, objects: Sequence[ObjectMeta]) -> Iterator[S3Path]:
        for meta in objects:
            if meta["size"] == 0:  # a mark that pyarrow, and so Ray, makes of a folder
                continue
            yield S3Path(self.bucket, PurePosixPath(meta["path"]), Status.from_meta(meta))

    def _below(self, path: S3Path) -> PurePosixPath:
        return path.key.relative_to(self.key)

    def _delete(self, paths: Sequence[S3Path]) -> None:
        for depth in sorted({len(path.key.parts) for path in paths}, reverse=True):
            obstore.delete(
                self._store, [path._name for path in paths if len(path.key.parts) == depth]
            )

    def _folder_status(self) -> Status:
        found = list(self.iterdir())
        if not found:
            raise FileNotFoundError(f"{self}: it is not there.")
        stamps = [path._listed for path in found if path._listed is not None]
        told = [(path.name, path._listed and path._listed.etag) for path in found]
        return Status(
            st_mtime=max((stamp.st_mtime for stamp in stamps), default=0.0),
            st_size=len(found),
            etag=hashlib.sha256(repr(sorted(told)).encode()).hexdigest(),
        )

    @contextmanager
    def _name_errors(self, absent: str = "it is not there") -> Iterator[None]:
        """Turn what the library raises into what pathlib raises, or into one sentence."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self}: {absent}.") from error
        except BaseError as error:
            raise ConnectionError(
                f"{self} cannot be reached ({_reason(error)}); look at the bucket's name, AWS_ENDPOINT_URL, "
                "AWS_REGION and the keys in the environment."
            ) from error


class _Reader(io.RawIOBase):
    """An object as a file to seek in."""

    def __init__(self, path: S3Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed before 3.12 has no Buffer
        length = min(len(view), self._size - self._at)
        if length <= 0:
            return 0
        with self._path._name_errors():
            view[:length] = obstore.get_range(
                self._path._store, self._path._name, start=self._at, length=length
            )
        self._at += length
        return length


def own_options() -> dict[str, str]:
    """Return what the environment does not say of itself, for this library and for the Delta log's."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    options = {"aws_endpoint_url": endpoint} if endpoint else {}
    return options | ({"aws_allow_http": "true"} if endpoint.startswith("http://") else {})


@lru_cache(maxsize=8)
def _store(bucket: str, options: tuple[tuple[str, str], ...]) -> S3Store:
    given = dict(options)
    return S3Store(
        bucket,
        endpoint=given.get("aws_endpoint_url"),
        client_options={"allow_http": "aws_allow_http" in given},
        retry_config={"max_retries": 5, "retry_timeout": PATIENCE},
    )


def _fits(key: PurePosixPath, pattern: str) -> bool:
    wanted = pattern.split("/")
    parts = key.parts[-len(wanted) :]
    return all(fnmatch.fnmatchcase(part, one) for part, one in zip(parts, wanted, strict=True))


def _reason(error: BaseError) -> str:
    """Return the innermost words of the library's error, without its debug dump."""
    first = str(error).split("\n\nDebug source", 1)[0]
    return " ".join(first.split())[:200]
