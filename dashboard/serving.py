"""The command that starts the dashboard's server: on this machine only, without error details, in our colours."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

APP = Path(__file__).parent / "app.py"

# A page of another site can give its own name this machine's address; what asks by that name is refused.
HOSTS = ("localhost", "127.0.0.1")

SERVER = {
    "server.address": "127.0.0.1",
    # said here, since a setting of the user's or of the current folder may say otherwise
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    # a traceback would show paths and text of files
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
}

# One accent, the answer's orange, darker on white so that text in it can be read.
THEME = {
    "theme.baseRadius": "6px",
    "theme.baseFontSize": "15",
    "theme.headingFontSizes": '["1.5rem", "1.15rem", "1rem"]',
    "theme.headingFontWeights": "[650, 600, 600]",
    "theme.metricValueFontSize": "1.4rem",
    "theme.linkUnderline": "false",
    "theme.light.primaryColor": "#c2560f",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f3f0",
    "theme.light.textColor": "#1c2128",
    "theme.light.borderColor": "#dedcd6",
    "theme.light.dataframeBorderColor": "#e6e4df",
    "theme.dark.primaryColor": "#f08a45",
    "theme.dark.backgroundColor": "#14171b",
    "theme.dark.secondaryBackgroundColor": "#1e2228",
    "theme.dark.textColor": "#e7e6e2",
    "theme.dark.borderColor": "#343a42",
    "theme.dark.dataframeBorderColor": "#2b3038",
}


def build_serve_command(
    folders: Sequence[str], port: int, other: Mapping[str, str] | None = None
) -> list[str]:
    """Build the command line that serves the work folders; `other` options of Streamlit override ours."""
    options = {**SERVER, **THEME, "server.port": str(port), **(other or {})}
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    flags += [word for host in HOSTS for word in ("--server.allowedHosts", host)]
    # -P: whoever asks may stand in a folder with a `dashboard` of its own
    return [sys.executable, "-P", "-m", "dashboard.start", "run", str(APP), *flags, "--", *folders]
