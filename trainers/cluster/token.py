"""Have Ray send this machine's token to a cluster."""

from __future__ import annotations

import os

from ray._raylet import Config  # type: ignore[attr-defined]

from trainers.cluster.joining import find_token, is_loopback


def use_token(address: str) -> None:
    """Have Ray send this machine's token to `host:port`; without RAY_AUTH_MODE it sends none, also where it has one.

    Raises PermissionError where there is none for another machine, or where the environment turns
    it off for one.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if find_token() and mode in ("", "token"):
        os.environ["RAY_AUTH_MODE"] = "token"
        # as Ray's own `_enable_token_auth` does: it read the mode when it was imported
        Config.initialize("")
    elif not is_loopback(address):
        if mode not in ("", "token"):
            raise PermissionError(
                f"RAY_AUTH_MODE is '{mode}', but a cluster on another machine ({address}) is only used with its "
                "token; unset it."
            )
        raise PermissionError(
            f"This machine has no token for the cluster at {address}; copy ~/.ray/auth_token of its head to this "
            "machine, or set RAY_AUTH_TOKEN."
        )
