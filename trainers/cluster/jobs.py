"""A run as a job of a Ray cluster: sent to its head, followed until it ends."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from trainers.cluster.shipment import Shipment, write_entrypoint
from trainers.cluster.token import use_token
from trainers.terminal.say import say
from trainers.terminal.stopping import Stopped

for _name in (
    "dashboard_sdk",
    "job.sdk",
):  # they tell of uploads and web sockets, at a level of their own
    logging.getLogger(f"ray.dashboard.modules.{_name}").setLevel(logging.WARNING)
logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)


def submit(shipment: Shipment, address: str, stage: str) -> str:
    """Send the shipment to the head at `address`, the job server's http://host:8265; return the job's id.

    With the token of this machine where it has one. Raises PermissionError where it has none, or
    another one than the cluster, and ConnectionError where nothing answers.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"The address of the cluster's jobs is '{address}', but must be that of its dashboard; write "
            "http://HEAD:8265."
        )
    use_token(f"[{parts.hostname}]:{parts.port or 80}")
    with tempfile.TemporaryDirectory() as folder:
        shipment.write(Path(folder, "run"))
        try:
            client = JobSubmissionClient(address)
            return str(
                client.submit_job(
                    entrypoint=write_entrypoint(stage),
                    runtime_env={"working_dir": str(Path(folder, "run"))},
                )
            )
        except AuthenticationError as error:
            raise PermissionError(
                f"The cluster at {address} has another token than this machine; copy ~/.ray/auth_token of its head "
                "to this machine's, or set RAY_AUTH_TOKEN."
            ) from error
        except ConnectionError as error:
            raise ConnectionError(
                f"No job server answers at {address}; give the address of the cluster's dashboard, and have it "
                "forwarded where it listens on the head alone (`ssh -L 8265:127.0.0.1:8265 HEAD`)."
            ) from error


def follow(address: str, job: str) -> None:
    """Show what a job says until it ends.

    Raises ValueError where it says that its input is wrong, and RuntimeError where it failed, was
    stopped, or is no longer watched.
    """
    client = JobSubmissionClient(address)
    try:
        asyncio.run(_show(client, job))
    except KeyboardInterrupt:
        raise Stopped(
            f"The job {job} goes on without being watched; `ray job stop --address {address} {job}` ends it."
        ) from None
    ended = client.get_job_info(job)
    if ended.status == JobStatus.SUCCEEDED:
        return
    if ended.driver_exit_code == 2:
        raise ValueError(f"The job {job} was refused; mend what it says above, and send it again.")
    raise RuntimeError(
        f"The job {job} ended as {ended.status.value.lower()}; send it again when what it says above is mended: "
        "what is finished is kept."
    )


async def _show(client: JobSubmissionClient, job: str) -> None:
    async for text in client.tail_job_logs(job):
        say(text.rstrip("\n"))
