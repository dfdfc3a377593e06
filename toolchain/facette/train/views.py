"""What a distillation run is fed: augmented views of aligned faces, with the teacher's embeddings of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from facette.nets.dlib_resnet import CHIP_SIZE
from facette.train.augment import Augmentation, augment
from facette.train.loop import LoopConfig
from facette.train.teacher import Teacher
from facette_runtime.errors import FacetteError
from facette_runtime.types import Image


class Views:
    """Batches of views with the teacher's answers.

    A view is a function of the seed, the face and the view's number alone, so that the answers can be kept and a
    resumed run sees the same batches. Each epoch shows one view of every face; after ``views`` epochs they come again.

    Args:
        crops: uint8 [n, s, s, 3] arrays, BGR, with a margin.
        rows: int [m], which of all their faces, counted through, to show.
        teacher: asked for the embeddings.
        views: how many of each face.
        augmentation: how strong.
        config: seed and batch size.

    Raises:
        FacetteError: there are fewer faces than a batch holds.
    """

    def __init__(
        self,
        crops: list[np.ndarray],
        rows: np.ndarray,
        teacher: Teacher,
        views: int,
        augmentation: Augmentation,
        config: LoopConfig,
    ) -> None:
        if config.batch_size > len(rows):
            raise FacetteError(f"batch_size {config.batch_size} is more than the {len(rows)} faces there are")
        self._crops = crops
        self._rows = rows
        self._starts = np.cumsum([0, *map(len, crops)])
        self._teacher = teacher
        self._views = views
        self._augmentation = augmentation
        self._seed, self._size = config.seed, config.batch_size

    def batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches from the 0-based step ``first`` on: pixels uint8 [n, size, size, 3] BGR, embeddings [n, d].

        The next batch is made while the loop works on the last.
        """
        step = first
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self._batch, step)
            while True:
                step += 1
                upcoming = pool.submit(self._batch, step)
                yield waiting.result()
                waiting = upcoming

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, len(self._rows) // self._size)
        order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)
        faces = order[place * self._size : (place + 1) * self._size]
        view = epoch % self._views
        pixels = torch.from_numpy(np.stack([self._view(int(face), view) for face in faces]))
        return pixels, self._teacher(pixels, view, faces)

    def _view(self, face: int, view: int) -> Image:
        rng = np.random.default_rng((self._seed, view, face))
        return augment(self._crop(face), self._crop(int(rng.choice(self._rows))), CHIP_SIZE, self._augmentation, rng)

    def _crop(self, face: int) -> Image:
        part = int(np.searchsorted(self._starts, face, side="right")) - 1
        return np.asarray(self._crops[part][face - self._starts[part]])
