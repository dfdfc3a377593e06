"""The training loop that every recipe shares: it knows optimisation, checkpoints and logging, and nothing about faces.

A run is a folder. It holds ``checkpoint.pt`` (written atomically, enough to go on exactly where a kill struck) and
``log.csv``. Calling `fit` again with the same folder goes on; a finished run returns at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facette.train.ema import Ema
from facette.train.log import LogKind, Logs
from facette.train.muon import Muon
from facette.train.state import load_state, save_state
from facette_runtime.errors import FacetteError

Batch = TypeVar("Batch", contravariant=True)
NetworkT = TypeVar("NetworkT", bound=nn.Module)
TrainPrecision = Literal["auto", "fp32", "bf16", "fp16"]
OptimizerName = Literal["adamw", "muon", "sgd"]


class Task(Protocol[Batch]):
    """What is trained, and how wrong it is.

    Attributes:
        student: the module whose parameters are optimised; `fit` moves it to the device and into training mode.
    """

    student: nn.Module

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The scalar to minimise and its named parts for the log. Runs under autocast; the batch is on the device."""
        ...


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How a run optimises.

    Attributes:
        steps: optimiser steps of the whole run.
        batch_size: pictures a step, for the speed in the log.
        learning_rate: at the top of the schedule: linear warm-up, then half a cosine down to zero.
        optimizer: "adamw", "muon" (see `facette.train.muon`) or "sgd" (Nesterov momentum 0.9).
        ema_decay: of the exponential moving average of the weights that `fit` returns; 0 switches it off.
        clip_norm: gradients are scaled down to this norm; 0 switches it off.
        checkpoint_every, log_every: in steps.
        log: "csv" (``log.csv`` in the run's folder), "tensorboard" (event files below it), or both.
        threads: torch's intra-op threads; 0 leaves them as they are.
        device: "auto", "cpu" or "cuda".
        freeze_batch_norm: batch norms keep their running statistics and use them; only scale and shift are trained.
        precision: of the forward pass; "auto" is bf16 where the hardware has it, else fp32. fp16 is for CUDA only.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adamw"
    warmup_steps: int = 100
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    checkpoint_every: int = 500
    log_every: int = 20
    seed: int = 0
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: TrainPrecision = "auto"
    freeze_batch_norm: bool = False
    log: tuple[LogKind, ...] = ("csv",)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be at least 1, but got {self.steps} and {self.batch_size}")


def fit(task: Task[Any], batches: Callable[[int], Iterator[Any]], config: LoopConfig, run_dir: Path) -> nn.Module:
    """Trains ``task.student`` and returns it, in eval mode on the CPU, with the averaged weights.

    Args:
        task: what to train. Other modules it holds (teachers) must already be on the device: see `pick_device`.
        batches: given the first step, yields batches for it and the following ones; the batch of a step must depend
            on the seed and the step alone, or a resumed run would not repeat the curve. A batch is a tensor or a
            tuple of tensors on the CPU.
        config: how to optimise.
        run_dir: the run's folder; made if missing. An unfinished run in it is continued.

    Raises:
        FacetteError: the loss is not finite, or the folder holds a run of another network or with other settings.
    """
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    student = task.student.to(device).train()
    if config.freeze_batch_norm:
        _freeze_batch_norm(student)
    optimizer = _optimizer(student, config)
    precision = pick_precision(config.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    ema = Ema(student, config.ema_decay)
    run_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = run_dir / "checkpoint.pt"
    first = load_state(checkpoint, config, student, ema, optimizer, scaler) if checkpoint.exists() else 0
    progress = tqdm(total=config.steps, initial=first, unit="step", dynamic_ncols=True)
    with Logs(config.log, run_dir, first) as log, progress as bar:
        source = batches(first) if first < config.steps else iter(())
        logged_at, logged_step = time.perf_counter(), first
        for step in range(first, config.steps):
            rate = learning_rate(step, config)
            with autocast(device, precision):
                loss, parts = task.loss(_to(next(source), device))
            value = _update(student, loss, optimizer, scaler, rate, config.clip_norm)
            ema.update(student, step)
            bar.update()
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                now = time.perf_counter()
                speed = (done - logged_step) * config.batch_size / max(now - logged_at, 1e-9)
                logged_at, logged_step = now, done
                log.write({"step": done, "loss": value, **parts, "learning_rate": rate, "images_per_second": speed})
                bar.set_postfix(loss=f"{value:.4f}")
            if done % config.checkpoint_every == 0 or done == config.steps:
                save_state(checkpoint, config, done, student, ema, optimizer, scaler)
    ema.load_into(student)
    return student.cpu().eval()


def channels_last(module: NetworkT) -> NetworkT:
    """Lays a network's weights out channels-last, in place, as convolutions run fastest on CPUs and tensor cores."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return module


def contiguous(module: NetworkT) -> NetworkT:
    """Undoes `channels_last`, in place: exporters and other passes expect torch's usual layout."""
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs lack this form
    return module


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then half a cosine (Loshchilov & Hutter, 2017, section 3, one period)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def pick_device(name: str) -> torch.device:
    """The device of "auto", "cpu" or "cuda".

    Raises:
        FacetteError: CUDA is asked for and torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise FacetteError("device 'cuda': this torch sees no CUDA device; valid: auto, cpu")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else "cpu" if name == "auto" else name)


def pick_precision(name: TrainPrecision, device: torch.device) -> TrainPrecision:
    """Resolves "auto": bf16 where the hardware multiplies it natively (elsewhere torch emulates it, slower than fp32).

    Raises:
        FacetteError: fp16 on a CPU.
    """
    if name == "fp16" and device.type == "cpu":
        raise FacetteError("precision 'fp16' needs CUDA; valid on a CPU: auto, fp32, bf16")
    if name != "auto":
        return name
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


def _update(
    student: nn.Module,
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    rate: float,
    clip_norm: float,
) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FacetteError(f"the loss became {value}; try a lower learning_rate or precision 'fp32'")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if clip_norm:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(student.parameters(), clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return value


def _freeze_batch_norm(student: nn.Module) -> None:
    for part in student.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def _optimizer(student: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    # Biases and normalisation scales are not decayed: shrinking them only fights the normalisation.
    decayed = [p for p in student.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in student.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "muon":
        return Muon(groups, config.learning_rate)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def autocast(device: torch.device, precision: TrainPrecision) -> AbstractContextManager[Any]:
    """Mixed precision for a forward pass; with "fp32" nothing changes."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return tuple(_to(item, device) for item in batch)
