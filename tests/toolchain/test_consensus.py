"""What a teacher means of a face, and training for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facette.train.augment import Augmentation, central
from facette.train.consensus import consensus
from facette.train.loop import LoopConfig
from facette.train.teacher import Teacher
from facette.train.views import Views
from facette_runtime.errors import FacetteError
from tests.toolchain.faces import SIDE, small_model, smooth_pictures

SIZE = 24
CROPS = [smooth_pictures(5, SIZE + 6, seed=1), smooth_pictures(40, SIZE + 6, seed=2)]
FACES = np.concatenate(CROPS)
STILL = Augmentation(rotation_degrees=0, scale=0, shift=0)


class Halves:
    """A teacher that says how bright the left half is, and the right one."""

    size = 2

    def __init__(self) -> None:
        self.pictures = 0

    def ask(self, pixels: Tensor) -> Tensor:
        self.pictures += len(pixels)
        grey = pixels.float().mean((1, 3))
        return torch.stack([grey[:, : SIZE // 2].mean(1), grey[:, SIZE // 2 :].mean(1)], 1)


def _said(faces: np.ndarray) -> np.ndarray:
    return np.asarray(Halves().ask(torch.from_numpy(np.ascontiguousarray(central(faces, SIZE)))).numpy())


def test_of_a_face_and_its_mirror_image_the_teacher_means_the_mean(tmp_path: Path) -> None:
    means = consensus(Halves(), CROPS, SIZE, 2, STILL, 0, tmp_path / "consensus.npy")
    said = _said(FACES)
    assert means.shape == (45, 2)
    assert np.allclose(means, (said + said[:, ::-1]) / 2, atol=1e-3)
    assert not np.allclose(means, said, atol=1)


def test_further_alignments_are_disturbed_and_half_of_them_mirrored(tmp_path: Path) -> None:
    class Records(Halves):
        seen: Tensor

        def ask(self, pixels: Tensor) -> Tensor:
            self.seen = pixels.clone()
            return super().ask(pixels)

    teacher = Records()
    consensus(teacher, [CROPS[0][:1]], SIZE, 4, Augmentation(rotation_degrees=5, scale=0.05, shift=0.02), 0, tmp_path / "a.npy")
    still, mirrored, moved, moved_mirrored = teacher.seen.numpy().astype(int)
    assert np.array_equal(mirrored, still[:, ::-1])
    for view, like in ((moved, still), (moved_mirrored, mirrored)):
        assert 1 < np.abs(view - like).mean() < np.abs(view - like[:, ::-1]).mean()


def test_of_no_alignment_nothing_is_asked(tmp_path: Path) -> None:
    teacher = Halves()
    assert consensus(teacher, CROPS, SIZE, 0, STILL, 0, tmp_path / "consensus.npy") is None
    assert not teacher.pictures
    assert not list(tmp_path.iterdir())


def test_one_alignment_is_what_the_teacher_says(tmp_path: Path) -> None:
    assert np.allclose(consensus(Halves(), CROPS, SIZE, 1, Augmentation(), 0, tmp_path / "consensus.npy"), _said(FACES))


def test_what_a_kill_left_is_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "consensus.npy"
    whole = np.array(consensus(Halves(), CROPS, SIZE, 4, Augmentation(), 0, path))
    half = np.load(path, mmap_mode="r+")
    half[-3:] = np.nan
    half.flush()
    teacher = Halves()
    assert np.array_equal(consensus(teacher, CROPS, SIZE, 4, Augmentation(), 0, path), whole)
    assert 0 < teacher.pictures < 45 * 4
    consensus(teacher := Halves(), CROPS, SIZE, 4, Augmentation(), 0, path)
    assert teacher.pictures == 0
    with pytest.raises(FacetteError, match="another run folder"):
        consensus(teacher, CROPS[1:], SIZE, 4, Augmentation(), 0, path)


def test_a_view_is_told_what_is_meant_and_a_stranger_what_is_said() -> None:
    asked: list[int] = []

    def answers(pixels: Tensor, _view: int, faces: np.ndarray) -> Tensor:
        assert len(pixels) == len(faces)
        asked.extend(faces)
        return torch.full((len(faces), 2), -1.0)

    meant = np.arange(90, dtype=np.float32).reshape(45, 2)
    config = LoopConfig(steps=4, batch_size=15, learning_rate=1e-3)
    batches = Views(CROPS, np.arange(45), SIZE, answers, 2, Augmentation(mix=0.5), config, meant).batches(0)
    for _ in range(2):  # of the three batches of an epoch, in which no face comes twice
        _, faces, wanted = next(batches)
        strange = wanted[:, 0] == -1
        assert 0 < strange.sum() < 15
        assert np.array_equal(wanted[~strange].numpy(), meant[faces[~strange].numpy()])
        assert set(faces[strange].tolist()) <= set(asked)
        assert not set(faces[~strange].tolist()) & set(asked)


def test_of_a_stranger_the_teacher_is_asked_both_ways(tmp_path: Path) -> None:
    model = small_model()
    pixels = torch.from_numpy(smooth_pictures(4, SIDE, seed=5))
    loop = LoopConfig(steps=1, batch_size=4, learning_rate=1e-3, precision="fp32", device="cpu")
    one_way, both_ways = (Teacher(model, tmp_path / f"{m}.npy", 4, 1, loop, mirrors=m) for m in (False, True))
    said, mirrored = one_way.ask(pixels), one_way.ask(pixels.flip(2))
    assert torch.equal(one_way(pixels, 0, np.arange(4)), said)
    assert torch.allclose(both_ways(pixels, 0, np.arange(4)), (said + mirrored) / 2, atol=1e-6)
    assert not torch.allclose(said, mirrored, atol=1e-3)
