"""The token that guards a Ray: shown to a cluster, asked for by our own, and kept from this machine's other users."""

from __future__ import annotations

import os

from ray._raylet import Config  # type: ignore[attr-defined]

from trainers.cluster.joining import find_token, find_token_file, is_loopback


def use_token(address: str) -> None:
    """Have Ray send this machine's token to `host:port`; without RAY_AUTH_MODE it sends none, also where it has one.

    Raises PermissionError where there is none for another machine, or where the environment turns
    it off for one.
    """
    mode = _mode()
    if find_token() and mode in ("", "token"):
        _turn_on()
        keep_token_private()
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


def ask_for_token() -> None:
    """Have a Ray that is started here let nobody in without the token; raises what `check_guard` does."""
    check_guard()
    _turn_on()


def check_guard() -> None:
    """Make sure that a Ray that is started here can ask for its token.

    Raises PermissionError where the environment turns that off, FileNotFoundError where it names a
    file that holds none.
    """
    mode = _mode()
    if mode not in ("", "token"):
        raise PermissionError(
            f"RAY_AUTH_MODE is '{mode}', with which everybody on this machine could run programs as you through "
            "our Ray; unset it."
        )
    if os.environ.get("RAY_AUTH_TOKEN_PATH") and find_token() is None:
        raise FileNotFoundError(
            f"RAY_AUTH_TOKEN_PATH is '{find_token_file()}', but no token is there; unset it, and Ray makes one in "
            "~/.ray/auth_token."
        )


def keep_token_private() -> None:
    """Let nobody else read the file with the token: Ray writes it for everybody."""
    path = find_token_file()
    if path.is_file() and path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "").lower()


def _turn_on() -> None:
    os.environ["RAY_AUTH_MODE"] = "token"  # an empty one would turn it off
    # as Ray's own `_enable_token_auth` does: it read the mode when it was imported
    Config.initialize("")
