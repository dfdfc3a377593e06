"""A network's page in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from facette.export.device_input import INPUT_NAME
from facette.model import Model
from facette_runtime.manifest import (
    DetectorEntry,
    EmbedderEntry,
    EmbeddingDecoder,
    ImageInput,
    Letterbox,
    Parity,
    Precision,
)


@dataclass(frozen=True)
class Build:
    """How a network was built; attributes as in `facette_runtime.manifest.NetworkEntry`, ``batch`` as in `ImageInput`."""

    engine: str
    precision: Precision
    form: str
    threads: int
    file: str = ""
    batch: int | None = None
    parity: Mapping[str, Parity] = field(default_factory=dict)
    latency_ms: float | None = None
    parameters: int | None = None
    macs: int | None = None


REFERENCE = Build(engine="torch", precision="fp32", form="stock", threads=1)
"""The uncompiled network."""


def detector_entry(model: Model, build: Build) -> DetectorEntry:
    """The manifest entry of a detector."""
    assert not isinstance(model.decoder, EmbeddingDecoder)
    return DetectorEntry(**_common(model, build), decoder=model.decoder, letterbox=model.letterbox or Letterbox())


def embedder_entry(model: Model, build: Build) -> EmbedderEntry:
    """The manifest entry of an embedder."""
    assert isinstance(model.decoder, EmbeddingDecoder)
    assert model.alignment is not None
    return EmbedderEntry(**_common(model, build), decoder=model.decoder, alignment=model.alignment)


class _Common(TypedDict):
    name: str
    file: str
    engine: str
    precision: Precision
    form: str
    threads: int
    input: ImageInput
    source_digest: str
    parameters: int | None
    macs: int | None
    parity: dict[str, Parity]
    latency_ms: float | None


def _common(model: Model, build: Build) -> _Common:
    image = model.image
    return _Common(
        name=model.name,
        file=build.file,
        engine=build.engine,
        precision=build.precision,
        form=build.form,
        threads=build.threads,
        input=ImageInput(INPUT_NAME, image.size_wh, image.color_order, build.batch, image.mean, image.scale),
        source_digest=model.digest,
        parameters=build.parameters,
        macs=build.macs,
        parity=dict(build.parity),
        latency_ms=build.latency_ms,
    )
