"""Hardware of a fit: the device, and the processes that torchrun started.

On several GPUs or machines a fit is started by torchrun, once for each GPU:

    cxrserve train prepare --recipe xclassifier …
    torchrun --nproc-per-node 4 -m cxrserve train fit --recipe xclassifier …
    cxrserve train --recipe xclassifier …          # the rest

and on two machines of eight GPUs, on each:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \\
        -m cxrserve train fit …

Each process reads its own share of each step, gradients are averaged (DDP), and the first process writes;
all machines see the same folders.
Batch normalisations look at each process's own images, and the running statistics kept are the first
process's, unless `synchronise_norms` is set, which needs GPUs. The learning rate follows the effective batch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.distributed

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_NAMES: Final[dict[str, Precision]] = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """Devices of one process group.

    Attributes:
        accelerator: "cpu" or "cuda".
        devices: processes on each node, one device each.
    """

    accelerator: Literal["cpu", "cuda"]
    devices: int = 1
    nodes: int = 1

    @classmethod
    def here(cls) -> Hardware:
        """The GPU if there is one, and as many processes as torchrun started, else this one."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        accelerator: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(accelerator=accelerator, devices=local, nodes=world // local)

    @property
    def processes(self) -> int:
        return self.devices * self.nodes

    @property
    def process(self) -> int:
        """The number of this process among all."""
        return int(os.environ.get("RANK", "0")) if self.processes > 1 else 0

    @property
    def backend(self) -> Literal["nccl", "gloo"]:
        """The communication library between the processes."""
        return "nccl" if self.accelerator == "cuda" else "gloo"

    def join(self) -> None:
        """Meet the other processes, where there are any."""
        if self.processes > 1 and not torch.distributed.is_initialized():
            if self.accelerator == "cuda":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            torch.distributed.init_process_group(self.backend)

    def wait_for_all(self) -> None:
        """Go on when every process has come here; they have joined."""
        if self.processes > 1:
            torch.distributed.barrier()

    def part(self) -> None:
        """Leave the other processes."""
        if self.processes > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def precision(self, name: str) -> Precision:
        """Lightning's name for "auto", "bf16", "fp16" or "32" here.

        Raises:
            ValueError: fp16 without a GPU.
        """
        if name == "auto":
            return self._best()
        if name == "fp16" and self.accelerator == "cpu":
            raise ValueError("precision fp16 needs a GPU; set it to auto, bf16 or 32")
        return _NAMES[name]

    def _best(self) -> Precision:
        if self.accelerator == "cuda":
            return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
        return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"
