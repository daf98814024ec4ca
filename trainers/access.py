"""The token that a Ray cluster asks for: whether this machine has one, and that Ray sends it."""

from __future__ import annotations

import os
from pathlib import Path

from ray._raylet import Config  # type: ignore[attr-defined]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def has_token() -> bool:
    """Whether Ray finds a token here; in the places where it looks, in its order."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return path.is_file() and bool(path.read_text(encoding="utf-8").strip())


def use_token(host: str) -> None:
    """Have Ray send this machine's token to `host`; without RAY_AUTH_MODE it sends none, also where it has one.

    Raises PermissionError where there is none for another machine, or where the environment turns
    it off for one.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if has_token() and mode in ("", "token"):
        os.environ["RAY_AUTH_MODE"] = "token"
        # as Ray's own `_enable_token_auth` does: it read the mode when it was imported
        Config.initialize("")
    elif host not in LOOPBACK:
        if mode not in ("", "token"):
            raise PermissionError(
                f"RAY_AUTH_MODE is '{mode}', but a cluster on another machine ({host}) is only used with its token; "
                "unset it."
            )
        raise PermissionError(
            f"This machine has no token for the cluster at {host}; copy ~/.ray/auth_token of its head to this "
            "machine, or set RAY_AUTH_TOKEN."
        )
