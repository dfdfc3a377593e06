"""The teacher of a distillation run, whose answers are kept: it is asked once for each view, and a view comes often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facette.nets.dlib_resnet import IMAGE_MEAN_RGB, IMAGE_SCALE, DlibResNet
from facette.train.loop import LoopConfig, autocast, channels_last, pick_device, pick_precision
from facette_runtime.errors import FacetteError
from facette_runtime.types import FloatArray


class Teacher:
    """Embeddings of views, from a file or else from the network.

    Args:
        network: in eval mode.
        cache: .npy file of the answers; made if missing, with NaN for what has not been asked yet.
        faces, views: how many faces there are, and views of each.
        config: device and precision.

    Raises:
        FacetteError: the file was made for another number of faces or views.
    """

    def __init__(self, network: DlibResNet, cache: Path, faces: int, views: int, config: LoopConfig) -> None:
        self._device = pick_device(config.device)
        self._precision = pick_precision(config.precision, self._device)
        self._network = channels_last(network).to(self._device)
        shape = (views, faces, network.config.size)
        if not cache.exists():
            np.lib.format.open_memmap(cache, "w+", np.float32, shape)[:] = np.nan
        self._answers = np.lib.format.open_memmap(cache, "r+")
        if self._answers.shape != shape:
            raise FacetteError(f"{cache}: made for {self._answers.shape}, not {shape} answers; use another run folder")

    def __call__(self, pixels: Tensor, view: int, faces: np.ndarray) -> Tensor:
        """Embeddings, float32 [n, d].

        Args:
            pixels: uint8 [n, size, size, 3], BGR: the view of these faces.
            view: its number.
            faces: int [n].
        """
        answers = self._answers[view, faces]
        missing = np.isnan(answers[:, 0])
        if missing.any():
            with autocast(self._device, self._precision):
                answers[missing] = embed(self._network, pixels[torch.from_numpy(missing)], self._device)
            self._answers[view, faces] = answers
        return torch.from_numpy(answers)


@torch.no_grad()
def embed(network: nn.Module, pixels: Tensor, device: torch.device) -> FloatArray:
    """Embeddings, float32 [n, d], of uint8 [n, size, size, 3] BGR pixels by a network on ``device``."""
    found = [network(normalize_pixels(chunk.to(device))).float().cpu() for chunk in torch.split(pixels, 64)]
    return np.asarray(torch.cat(found).numpy(), np.float32)


def normalize_pixels(pixels: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] BGR to the network's float32 [n, 3, h, w] RGB, in channels-last memory."""
    mean = torch.tensor(IMAGE_MEAN_RGB, device=pixels.device)
    return ((pixels.flip(3).float() - mean) * IMAGE_SCALE).permute(0, 3, 1, 2)
