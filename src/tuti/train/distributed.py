"""Training in several processes (`torchrun`): each computes its share of a step's micro-batches.

The update is the one that a single process would make: Σ nats / Σ predictions over all micro-batches.
So gradients are *summed* over processes where DDP and FSDP2 would take the mean. The first process alone
writes, measures and samples; checkpoints are whole, so that any number of processes goes on with them.
"""

import copy
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from tuti.run import Run, UserError
from tuti.run.machine import cores
from tuti.train.checkpoints import load_checkpoint
from tuti.train.optimisers import Optimiser, whole

B = TypeVar("B")
M = TypeVar("M", bound=nn.Module)
Parallel = Literal["ddp", "fsdp"]
PATIENCE = timedelta(hours=12)
"""The others wait so long for the first process to measure and save; torchrun ends them if it dies"""


class Processes:
    """The processes of one training, seen from one of them; of a single process every verb is trivial."""

    def __init__(self, parallel: Parallel, rank: int = 0, world: int = 1, device: str = "cpu") -> None:
        self.rank, self.world, self.device = rank, world, device
        self.first = rank == 0
        """Whether this is the process that writes"""
        self.sharded = world > 1 and parallel == "fsdp"
        self._twin: nn.Module | None = None

    def share(self, parts: Sequence[B]) -> Sequence[B]:
        """The micro-batches of a step that this process computes."""
        if len(parts) % self.world:
            what = f"{len(parts)} micro-batches a step cannot be shared evenly by {self.world} processes"
            raise UserError(what, hint=f"--micro {self.world} (or a multiple of it)")
        return parts[self.rank :: self.world]

    def total(self, value: float) -> float:
        """The sum of a number over all processes, in fp64."""
        if self.world == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(number)
        return float(number)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model to call in training; make the Optimiser from the one that was given, afterwards."""
        if self.world == 1:
            return model
        if not self.sharded:
            wrapped = DistributedDataParallel(model)
            wrapped.register_comm_hook(None, _sum_bucket)
            return wrapped
        if self.first:
            self._twin = copy.deepcopy(model).cpu()
        mesh = init_device_mesh(torch.device(self.device).type, (self.world,))
        # Sums of rounded gradients over processes are made in fp32, as the masters need them.
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
        for part in [*cast(Sequence[nn.Module], model.blocks), model]:
            fully_shard(part, mesh=mesh, mp_policy=policy)
            assert isinstance(part, FSDPModule)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
        return model

    @contextmanager
    def whole(self, model: M) -> Generator[M | None]:
        """The model with all its weights, on the first process; None on the others."""
        if not self.sharded:
            yield model if self.first else None
            return
        weights = self.gather(dict(model.named_parameters()))
        if self._twin is None:
            yield None
            return
        with torch.no_grad():
            for name, weight in self._twin.named_parameters():
                weight.copy_(weights[name])
        yield cast(M, self._twin.to(self.device))
        self._twin.cpu()

    def gather(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors unsharded, on the first process; nothing on the others."""
        found: dict[str, Tensor] = {}
        for name, tensor in state.items():
            full = whole(tensor.detach())
            if self.first:
                found[name] = full.cpu() if self.sharded else full
        return found

    def resume(self, optimiser: Optimiser, run: Run) -> int:
        """Restores the newest checkpoint that the first process has; returns the updates done."""
        found = run.resume() if self.first else None
        start, state = 0, dict[str, Tensor]()
        if found is not None:
            start, state = load_checkpoint(found)
            run.log("resumed", step=start)
        if self.world > 1:
            start, state = self._spread(start, state, optimiser)
        if start:
            optimiser.restore(state)
        return start

    def _spread(
        self, start: int, state: dict[str, Tensor], optimiser: Optimiser
    ) -> tuple[int, dict[str, Tensor]]:
        """What the first process read, on every process and sharded as its own masters are."""
        told: list[Any] = [start, {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}]
        dist.broadcast_object_list(told, 0)
        spread: dict[str, Tensor] = {}
        for name, (shape, dtype) in told[1].items():
            # An entry of `Optimiser.state` is called master.WEIGHT or state.KEY.WEIGHT.
            like = optimiser.masters[name.split(".", 1 if name.startswith("master.") else 2)[-1]]
            full = torch.empty(shape, dtype=dtype, device=self.device)
            if self.first:
                full.copy_(state.pop(name))
            dist.broadcast(full, 0)
            if isinstance(like, DTensor) and full.shape == like.shape:
                full = distribute_tensor(full, like.device_mesh, like.placements)
            spread[name] = full
        return told[0], spread


@contextmanager
def processes(parallel: Parallel, device: str, threads: int = 0) -> Generator[Processes]:
    """The processes that torchrun started (its environment tells), or this one alone.

    gloo on processors, nccl on GPUs, of which each process takes its own. Threads (0: all) are divided
    among the processes of a machine.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(parallel, device=device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.startswith("cuda"):
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, (threads or cores()) // neighbours))
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=world, timeout=PATIENCE)
    # After an error the group is left to the end of the process: others may be waiting in it.
    yield Processes(parallel, rank, world, device)
    dist.destroy_process_group()


def _sum_bucket(
    _: object,
    bucket: dist.GradBucket,  # pyright: ignore[reportPrivateImportUsage]
) -> torch.futures.Future[Tensor]:
    """Sums a bucket of gradients over processes (DDP's own hook would divide by their number)."""
    work = cast(dist.Work, dist.all_reduce(bucket.buffer(), async_op=True))
    done = cast(torch.futures.Future[list[Tensor]], work.get_future())
    return done.then(lambda future: future.value()[0])
