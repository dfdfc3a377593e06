"""Weights come from safetensors files, which hold numbers only; a pickle could run code when it is opened, and is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        FacetteError: the file is missing, a folder, a pickle (torch.save), or not safetensors.
    """
    if not path.is_file():
        raise FacetteError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; expected a .safetensors file")
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE_STARTS):
        raise FacetteError(
            f"{path}: this is a pickle, which can run code when opened; save it with safetensors.torch.save_file instead"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise FacetteError(f"{path}: not a safetensors file ({error})") from None


def write_weights(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file, floats as float32, whole or not at all.

    Args:
        state: a network's state dict.
        path: of the file.
        metadata: for its header.
    """
    tensors = {name: (value.detach().float() if value.is_floating_point() else value).contiguous() for name, value in state.items()}
    # Not save_file: it makes a file that only its owner may read.
    write_atomically(path, save(tensors, dict(metadata) if metadata else None))


def load_weights(network: nn.Module, path: Path) -> str:
    """Loads every parameter and buffer of ``network`` from a safetensors file, by name and shape.

    Returns:
        The file's sha256.

    Raises:
        FacetteError: as `read_weights`, or the names or shapes don't fit the network; the message names the first that doesn't.
    """
    weights = read_weights(path)
    wanted = network.state_dict()
    # Counters of batch norm are no part of what a network computes, and public files leave them out.
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    unknown = [name for name in weights if name not in wanted]
    kind = type(network).__name__
    if missing:
        raise FacetteError(f"{path}: lacks {missing[0]!r} of {kind} ({len(missing)} missing, {len(unknown)} unknown)")
    if unknown:
        raise FacetteError(f"{path}: holds {unknown[0]!r}, which {kind} does not have ({len(unknown)} such)")
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise FacetteError(f"{path}: {name!r} has shape {tuple(value.shape)}, but {kind} has {tuple(wanted[name].shape)}")
    network.load_state_dict(weights, strict=False)
    return file_digest(path)
