"""A content-addressed cache: what was made from the same inputs by the same code isn't made again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import fx, nn

from facette.model import Model
from facette.weights import file_digest
from facette_runtime.files import write_atomically

_TOOLS = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxslim",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "openvino",
    "nncf",
)


def default_folder() -> Path:
    """``$FACETTE_CACHE``, else ``$XDG_CACHE_HOME/facette``, else ``~/.cache/facette``."""
    if folder := os.environ.get("FACETTE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facette"


class Cache:
    """Bytes by key, one file each.

    Args:
        folder: made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hits = 0
        self.misses = 0

    def bytes(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What ``make`` gave for this key the last time, or now."""
        path = self.folder / key[:2] / key
        if path.is_file():
            self.hits += 1
            return path.read_bytes()
        self.misses += 1
        value = make()
        write_atomically(path, value)
        return value

    def json(self, key: str, make: Callable[[], object]) -> object:
        """As `bytes`, for a value that JSON can hold."""
        return json.loads(self.bytes(key, lambda: json.dumps(make()).encode()))


def key_of(*parts: object) -> str:
    """sha256 over the text of the parts."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def fingerprint(model: Model) -> str:
    """Says what a model computes: its graph or source code, every parameter, how it is fed and read."""
    digest = hashlib.sha256(repr((model.image, model.decoder, model.output_names, model.onnx_outputs)).encode())
    if isinstance(model.network, Path):
        digest.update(file_digest(model.network).encode())
        return digest.hexdigest()
    digest.update(_source(model.network).encode())
    for name, value in model.network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else str(value.item()).encode())
    return digest.hexdigest()


def _source(network: nn.Module) -> str:
    """The code of every class in the module tree that isn't torch's own, and its structure."""
    graph = network.code if isinstance(network, fx.GraphModule) else ""
    classes = {type(part) for part in network.modules() if not isinstance(part, fx.GraphModule)}
    modules = sorted({kind.__module__ for kind in classes if not kind.__module__.startswith("torch.")})
    return "\n".join([graph, *(inspect.getsource(sys.modules[name]) for name in modules), repr(network)])


@cache
def toolchain_fingerprint() -> str:
    """Says which code exports: the versions of the converters and the exporters' own source."""
    versions = [f"{name}=={version}" for name, version in tool_versions().items()]
    sources = [path.read_text() for path in sorted((Path(__file__).parent / "export").glob("*.py"))]
    return key_of(*versions, *sources)


@cache
def tool_versions() -> dict[str, str]:
    """Version by package, of those that are installed."""
    versions = {}
    for name in _TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
