"""The teacher of a distillation run, whose answers are kept: it is asked once for each view, and a view comes often."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facette.model import ImageSpec, Model
from facette.train.loop import LoopConfig, autocast, channels_last, pick_device, pick_precision
from facette.train.pixels import normalize_pixels
from facette_runtime.align import similarity_transform
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Alignment, EmbeddingDecoder
from facette_runtime.types import FloatArray


class Teacher:
    """Embeddings of views, from a file or else from the network.

    A teacher with another alignment than the student's is shown the very same view, turned, scaled and shifted so that the faces
    lie where it expects them; what its crop needs beyond the view's edge is the edge's own colour.

    Args:
        model: an embedder in torch.
        cache: .npy file of the answers; made if missing, with NaN for what has not been asked yet.
        faces, views: how many faces there are, and views of each.
        config: device and precision.
        alignment: of the views, where it may differ from the teacher's own.
        mirrors: whether a view's answer is the mean of those to it and to its mirror image.

    Raises:
        FacetteError: the model is no embedder in torch.
    """

    def __init__(
        self,
        model: Model,
        cache: Path,
        faces: int,
        views: int,
        config: LoopConfig,
        alignment: Alignment | None = None,
        mirrors: bool = False,
    ) -> None:
        self.size = embedding_size(model)
        self._mirrors = mirrors
        self._device = pick_device(config.device)
        self._precision = pick_precision(config.precision, self._device)
        self._image = model.image
        # A copy: the model's own module keeps its layout and its device.
        self._network = channels_last(copy.deepcopy(torch_network(model))).to(self._device)
        self._transform = None
        if alignment is not None and model.alignment is not None and alignment != model.alignment:
            self._transform = similarity_transform(np.array(alignment.template_xy), np.array(model.alignment.template_xy))
        self._cache, self._shape = cache, (views, faces, self.size)

    @cached_property
    def _kept(self) -> np.memmap[tuple[int, ...], np.dtype[np.float32]]:
        # Not before the first view: a teacher may only be asked what it means of a face (see `facette.train.consensus`).
        return kept_answers(self._cache, self._shape)

    def __call__(self, pixels: Tensor, view: int, faces: np.ndarray) -> Tensor:
        """Embeddings, float32 [n, d], kept.

        Args:
            pixels: uint8 [n, size, size, 3], BGR: the view of these faces.
            view: its number.
            faces: int [n].

        Raises:
            FacetteError: the file was made for another number of faces or views.
        """
        answers = self._kept[view, faces]
        missing = np.isnan(answers[:, 0])
        if missing.any():
            answers[missing] = self._said(pixels[torch.from_numpy(missing)])
            self._kept[view, faces] = answers
        return torch.from_numpy(answers)

    def _said(self, pixels: Tensor) -> Tensor:
        if not self._mirrors:
            return self.ask(pixels)
        both = self.ask(torch.cat([pixels, pixels.flip(2)]))
        return (both[: len(pixels)] + both[len(pixels) :]) / 2

    def ask(self, pixels: Tensor) -> Tensor:
        """Embeddings, float32 [n, d], of uint8 [n, size, size, 3] BGR pixels, from the network itself."""
        if self._transform is not None:
            turned = [
                cv2.warpAffine(view, self._transform, self._image.size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for view in pixels.numpy()
            ]
            pixels = torch.from_numpy(np.stack(turned))
        with autocast(self._device, self._precision):
            return torch.from_numpy(embed(self._network, pixels, self._image, self._device))


def kept_answers(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.float32]]:
    """The .npy file of answers, float32 of ``shape``, to read and to fill; made if missing, with NaN for what is not known yet.

    Raises:
        FacetteError: the file is of another shape.
    """
    if not path.exists():
        np.lib.format.open_memmap(path, "w+", np.float32, shape)[:] = np.nan
    answers = np.lib.format.open_memmap(path, "r+")
    if answers.shape != shape:
        raise FacetteError(f"{path}: made for {answers.shape}, not {shape} answers; use another run folder")
    return answers


@torch.no_grad()
def embed(network: nn.Module, pixels: Tensor, image: ImageSpec, device: torch.device) -> FloatArray:
    """Embeddings, float32 [n, d], of uint8 [n, h, w, 3] BGR pixels by a network on ``device``."""
    found = [network(normalize_pixels(chunk.to(device), image)).float().cpu() for chunk in torch.split(pixels, 64)]
    return np.asarray(torch.cat(found).numpy(), np.float32)


def torch_network(model: Model) -> nn.Module:
    """The model's module, in eval mode.

    Raises:
        FacetteError: the model is an ONNX file, which can neither be trained nor asked for gradients.
    """
    if not isinstance(model.network, nn.Module):
        raise FacetteError(f"{model.name}: training needs a torch network, not an ONNX file")
    return model.network.eval()


def embedding_size(model: Model) -> int:
    """Length of the embedding.

    Raises:
        FacetteError: the model is a detector.
    """
    if not isinstance(model.decoder, EmbeddingDecoder):
        raise FacetteError(f"{model.name}: is a detector; embeddings can be distilled from an embedder only")
    return model.decoder.size
