"""Where the teacher's workers find each other: on one machine in a file, in place of a port that anybody may talk to.

torch opens its port on all interfaces and asks for no token. Over several machines there is no other way.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
import torch.distributed
from ray.train.torch.config import (
    TorchConfig,
    _set_torch_distributed_env_vars,
    _TorchBackend,
)

from trainers.cluster.node import prepare_worker


class MeetInFile(_TorchBackend):
    """Ray's torch backend, but for the way in which the workers find each other."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_set_torch_distributed_env_vars)
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        node: Any = ray._private.worker._global_node
        # Ray's own folder of this session, which only this user may enter
        file = Path(node.get_session_dir_path()) / f"meeting-{uuid.uuid4().hex}"
        count = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, meet, "nccl" if gpus else "gloo", str(file), rank, count,
                    backend_config.timeout_s,
                )
                for rank in range(count)
            ]
        )  # fmt: skip


class LocalTorchConfig(TorchConfig):
    """Torch's process group for workers of one machine."""

    @property
    def backend_cls(self) -> type[MeetInFile]:
        return MeetInFile


def meet(backend: str, file: str, rank: int, count: int, timeout_s: float) -> None:
    """Join the process group of `count` workers that meet in a file, as one of them."""
    prepare_worker()
    torch.distributed.init_process_group(
        backend,
        init_method=f"file://{file}",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=timeout_s),
    )
