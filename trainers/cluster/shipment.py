"""A run as it travels to a cluster: its run.toml, the small files it names, and our own code.

A node needs Ray, torch and the dependencies, and nothing else: the job's Python starts in the
unpacked shipment, where `python -m trainers` finds the packages beside run.toml.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gaitforge.settings import RunSettings, read_settings
from gaitforge.toml import write_toml

SHIPPED = ("gaitforge", "trainers", "search_spaces")
NOT_SHIPPED = ("__pycache__", "_line")  # in a wheel, gaitforge/_line holds the others

SETTINGS = "run.toml"
MAX_BYTES = (
    100_000_000  # Ray keeps a shipment in the memory of its head, and takes none above 500 MiB
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """The files of a run by their place in it, and what must be on the nodes already."""

    settings: RunSettings  # as read here, on this machine
    work: str  # the work folder, which every node must see
    toml: str  # run.toml as it is there
    copies: Mapping[str, Path]
    expected: tuple[str, ...]  # further paths that every node must have

    def write(self, folder: Path) -> None:
        """Make `folder` hold this shipment, and nothing else; raises ValueError where it holds other things."""
        if folder.exists() and any(folder.iterdir()):
            if not (folder / SETTINGS).is_file() or not (folder / "trainers").is_dir():
                raise ValueError(
                    f"{folder} holds something else than a shipment; give an empty or a new folder."
                )
            shutil.rmtree(folder)
        for name, source in self.copies.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        (folder / SETTINGS).write_text(self.toml, encoding="utf-8")

    def as_zip(self) -> bytes:
        """Zip the shipment below one folder, as Ray takes it from a path; the same bytes each time."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, source in sorted(self.copies.items()):
                _add(archive, name, source.read_bytes())
            _add(archive, SETTINGS, self.toml.encode())
        return buffer.getvalue()


def pack(path: Path) -> Shipment:
    """Pack the shipment of a run.toml; raise ValueError where the run could not work away from this machine.

    Paths that run.toml writes as absolute are taken to exist on every node. Files that it names
    relative to itself travel.
    """
    settings = read_settings(path)
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    if not _is_absolute(data["work"]):
        raise ValueError(
            f"work is '{data['work']}', which would lie in the job's own folder on one node; give the "
            "absolute path of a folder that every node sees."
        )
    copies = {name: file for folder in list_package_folders() for name, file in _sources(folder)}
    expected: list[str] = []

    def travels(named: str, found: str, key: str) -> str:
        if _is_absolute(named):
            expected.append(named)
            return named
        source = Path(found)
        if not source.is_file():
            raise FileNotFoundError(
                f"{key} names {source}, but only files travel to the cluster, and that is none; mend it, or "
                "name something that every node has by its absolute path."
            )
        # numbered, since two folders may hold files of the same name
        name = f"files/{len(copies)}-{source.name}"
        copies[name] = source
        return name

    ingest = dict(data["ingest"])
    if settings.ingest.files:
        ingest["files"] = [
            travels(named, found, "ingest.files")
            for named, found in zip(ingest["files"], settings.ingest.files, strict=True)
        ]
    if settings.ingest.layout.endswith(".toml"):
        ingest["layout"] = travels(ingest["layout"], settings.ingest.layout, "ingest.layout")
    if (other := settings.ingest.read.from_layout).endswith(".toml"):
        named = ingest["read"]["from_layout"]
        found = travels(named, other, "ingest.read.from_layout")
        ingest["read"] = ingest["read"] | {"from_layout": found}
    search = dict(data.get("search", {}))
    if settings.search.start_from:
        search["start_from"] = [
            travels(named, found, "search.start_from")
            for named, found in zip(search["start_from"], settings.search.start_from, strict=True)
        ]
    size = sum(source.stat().st_size for source in copies.values())
    if size > MAX_BYTES:
        raise ValueError(
            f"The files that {path} names come to {size / 1e6:,.0f} MB, but at most {MAX_BYTES / 1e6:,.0f} travel "
            "with a job; put them in a folder that every node sees, and name them by their absolute paths."
        )
    # the driver runs on the cluster's head
    cluster = {key: value for key, value in data.get("cluster", {}).items() if key != "cpus"}
    there = data | {"ingest": ingest, "cluster": cluster | {"address": "auto"}}
    if search:
        there["search"] = search
    return Shipment(
        settings=settings,
        work=data["work"],
        toml=write_toml(there),
        copies=copies,
        expected=tuple(dict.fromkeys(expected)),
    )


def list_package_folders() -> tuple[Path, ...]:
    """Return the folders of our own packages that work on a node."""
    specs = [importlib.util.find_spec(name) for name in SHIPPED]  # looked up, none is loaded
    return tuple(Path(spec.origin).parent for spec in specs if spec and spec.origin)


def _is_absolute(path: str) -> bool:
    return "://" in path or path.startswith("/")


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package by their place below its name."""
    for file in sorted(folder.rglob("*")):
        place = file.relative_to(folder)
        if file.is_file() and not set(NOT_SHIPPED) & set(place.parts):
            yield f"{folder.name}/{place.as_posix()}", file


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(f"gaitforge-run/{name}")  # dated 1980, whenever it is written
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def write_entrypoint(stage: str) -> str:
    """Return the command that the job runs in the unpacked shipment."""
    return f"python3 -m trainers {stage} {SETTINGS}"  # not every machine has a `python`
