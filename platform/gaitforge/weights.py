"""Weights, each file beside the JSON file that describes it (its head), which holds their hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gaitforge.work import read_bytes, read_object, write_whole

KEY = "weights_sha256"


def write_weights(head: Path, weights: bytes) -> dict[str, str]:
    """Write weights beside a head, which must be written after them; return the entry that it must hold."""
    write_whole(weights_of(head), weights)
    return {KEY: hashlib.sha256(weights).hexdigest()}


def read_weights(head: Path, remedy: str) -> bytes:
    """Read the weights that a head describes; raises ValueError, with the remedy, where they are missing or others."""
    weights = _read(head)
    fault = _fault(head, weights)
    if fault is not None or weights is None:
        raise ValueError(f"{fault}; {remedy}.")
    return weights


def find_weights_fault(head: Path) -> str | None:
    """Say what is wrong with the weights beside a head, as a sentence begins; None where they are its own."""
    return _fault(head, _read(head))


def weights_of(head: Path) -> Path:
    """Return the path of the weights beside a head."""
    return head.with_suffix(".safetensors")


def hash_file(path: Path) -> str:
    """Return the hash of a file's content, which need not fit the memory.

    Raises PermissionError, with a sentence, where this user may not read it.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError as error:
        raise PermissionError(
            f"{path} cannot be read: this user may not; let its owner give the right to read it."
        ) from error


def _read(head: Path) -> bytes | None:
    try:
        return read_bytes(
            weights_of(head), "weights", f"remove {head.name} too and run its stage again"
        )
    except FileNotFoundError:
        return None


def _fault(head: Path, weights: bytes | None) -> str | None:
    path, told = weights_of(head), read_object(head, KEY)[KEY]
    if weights is None:
        return f"{path} is not there, but {head.name} tells of it"
    if hashlib.sha256(weights).hexdigest() != told:
        return f"{path} holds other weights than {head.name} tells of"
    return None
