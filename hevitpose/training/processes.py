"""Several processes of one training or evaluation, on one machine: who starts them, how they meet.

torch's default is a store that listens on every interface of the machine, and gloo's connections on
the host's own address. On one node nobody else has to get in: the processes that Lightning starts
meet in a file that only this user can read, and talk over the loopback interface.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy

from hevitpose.config import Config
from hevitpose.isolated import end_with

#: Tell the processes that Lightning starts where to meet, and whose they are.
_MEETING, _PARENT = "HEVITPOSE_MEETING", "HEVITPOSE_PARENT"


class OneNode(DDPStrategy):
    """DDP among the processes of this machine, which no other machine can reach."""

    def setup_distributed(self) -> None:
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
        if _MEETING in os.environ and not torch.distributed.is_initialized():
            self.set_world_ranks()
            self._process_group_backend = self._get_process_group_backend()
            store = torch.distributed.FileStore(os.environ[_MEETING], self.world_size)
            torch.distributed.init_process_group(
                self._process_group_backend,
                store=store,
                rank=self.global_rank,
                world_size=self.world_size,
                timeout=self._timeout,
            )
        super().setup_distributed()


def strategy(config: Config) -> DDPStrategy | str:
    """What Lightning distributes a config's processes by."""
    if config.devices * config.nodes == 1:
        return "auto"
    if config.nodes > 1:
        return "ddp"
    if "LOCAL_RANK" not in os.environ:  # nobody has started the others: Lightning will
        _invite()
    elif os.environ.get(_PARENT, own := str(os.getpid())) != own:  # Lightning started this one
        end_with(int(os.environ[_PARENT]))
    return OneNode()


def _invite() -> None:
    """Name a file to meet in, in the environment that Lightning's processes will get."""
    folder = Path(tempfile.mkdtemp(prefix="hevitpose-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {_MEETING: str(folder / "store"), _PARENT: str(os.getpid())}


def is_first_process(config: Config) -> bool:
    """Whether this is the first process of a config's, on the first of its nodes.

    Also before they know of each other and after they have parted: under torchrun and Slurm, and
    where Lightning has started it, the environment tells.
    """
    if config.devices * config.nodes == 1:
        return True
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    ranks = ("RANK", "SLURM_PROCID", "GROUP_RANK", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def process_count() -> int:
    """How many processes there are, as far as torch or the environment tells."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", 1))
