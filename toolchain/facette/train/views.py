"""What a distillation run is fed: augmented views of aligned faces, with the teacher's embeddings of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from facette.train.augment import Augmentation, View, augment
from facette.train.loop import LoopConfig
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Alignment
from facette_runtime.types import FloatArray, Image

MARGIN = 32 / 150
"""Border round a training crop, as a part of the final crop's side, so that rotation and shift find pixels."""

Answers = Callable[[Tensor, int, np.ndarray], Tensor]
"""What a teacher says of views: given uint8 [n, h, w, 3] BGR, the view's number and int [n] faces, float32 [n, d]."""


def with_margin(alignment: Alignment) -> Alignment:
    """The same scale and centre with a border of `MARGIN` in all: what training crops are cut by.

    Raises:
        FacetteError: the crop is not square.
    """
    width, height = alignment.size_wh
    if width != height:
        raise FacetteError(f"training needs square crops, but the network takes {width}x{height}")
    border = round(width * MARGIN / 2)
    template = tuple((x + border, y + border) for x, y in alignment.template_xy)
    return Alignment((width + 2 * border, height + 2 * border), template)


class Views:
    """Batches of views with the teacher's answers.

    A view is a function of the seed, the face and the view's number alone, so that the answers can be kept and a
    resumed run sees the same batches. Each epoch shows one view of every face; after ``views`` epochs they come again.

    Args:
        crops: uint8 [n, s, s, 3] arrays, BGR, with a margin.
        rows: int [m], which of all their faces, counted through, to show.
        size: side of a view in pixels.
        answers: the teacher's; None where the task asks it itself.
        views: how many of each face.
        augmentation: how strong.
        config: seed and batch size.
        meant: float32 [n, d], the target of every view of each face, whatever the teacher would say of the view. It is still asked
            about views that show a face that nobody has. None: about all of them.

    Raises:
        FacetteError: there are fewer faces than a batch holds.
    """

    def __init__(
        self,
        crops: Sequence[np.ndarray],
        rows: np.ndarray,
        size: int,
        answers: Answers | None,
        views: int,
        augmentation: Augmentation,
        config: LoopConfig,
        meant: FloatArray | None = None,
    ) -> None:
        if config.batch_size > len(rows):
            raise FacetteError(f"batch_size {config.batch_size} is more than the {len(rows)} faces there are")
        self._crops = crops
        self._rows = rows
        self._size = size
        self._starts = np.cumsum([0, *map(len, crops)])
        self._answers, self._meant = answers, meant
        self._views = views
        self._augmentation = augmentation
        self._seed, self._batch_size = config.seed, config.batch_size

    def batches(self, first: int) -> Iterator[tuple[Tensor, ...]]:
        """Endless batches from the 0-based step ``first`` on: pixels uint8 [n, size, size, 3] BGR, faces int64 [n] and, where they
        are kept, the teacher's embeddings float32 [n, d].

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

    def _batch(self, step: int) -> tuple[Tensor, ...]:
        epoch, place = divmod(step, len(self._rows) // self._batch_size)
        order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)
        faces = order[place * self._batch_size : (place + 1) * self._batch_size]
        view = epoch % self._views
        seen = [self._view(int(face), view) for face in faces]
        pixels = torch.from_numpy(np.stack([each.pixels for each in seen]))
        if self._answers is None:
            return pixels, torch.from_numpy(faces)
        if self._meant is None:
            return pixels, torch.from_numpy(faces), self._answers(pixels, view, faces)
        wanted = torch.from_numpy(self._meant[faces])
        strange = np.array([each.stranger for each in seen])
        if strange.any():
            wanted[strange] = self._answers(pixels[strange], view, faces[strange])
        return pixels, torch.from_numpy(faces), wanted

    def _view(self, face: int, view: int) -> View:
        rng = np.random.default_rng((self._seed, view, face))
        return augment(self._crop(face), self._crop(int(rng.choice(self._rows))), self._size, self._augmentation, rng)

    def _crop(self, face: int) -> Image:
        part = int(np.searchsorted(self._starts, face, side="right")) - 1
        return np.asarray(self._crops[part][face - self._starts[part]])
