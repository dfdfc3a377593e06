"""Smaller pictures: what becomes of the weights and the crop, and how the network learns again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.cache import Cache
from facette.compress import Supplies, compress
from facette.model import Model
from facette.passes.distil import Distil, distil
from facette.passes.qat import Qat, qat
from facette.passes.shrink_input import ShrinkInput, shrink_input
from facette.reference import count_macs, reference_engine
from facette.resample import fitted
from facette.train.hints import Hints
from facette.train.pixels import normalize_pixels
from facette.train.recovery import training_alignment
from facette_runtime.align import align
from facette_runtime.errors import FacetteError
from tests.toolchain.faces import SIDE, SmallEmbedder, detect_middle, small_model, smooth_pictures, write_photos

SMALLER = 24
LEARN = Distil(steps=120, batch=8, learning_rate=1e-2, warmup=2, ema=0.5, views=2, precision="fp32")


class GlobalEmbedder(SmallEmbedder):
    """Ends in a depthwise convolution over the whole picture, as MobileFaceNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.everywhere = nn.Conv2d(8, 8, SIDE // 4, groups=8)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings float32 [n, 6] of pictures float32 [n, 3, 32, 32]."""
        x = self.act2(self.depthwise(self.act(self.norm(self.stem(x)))))
        found: Tensor = self.embedding(self.everywhere(x).flatten(1))
        return found


def global_model() -> Model:
    """A random `GlobalEmbedder`."""
    torch.manual_seed(0)
    return replace(small_model(), network=GlobalEmbedder().eval())


def _network(model: Model) -> nn.Module:
    assert isinstance(model.network, nn.Module)
    return model.network


def _agreement(model: Model, original: Model) -> float:
    pictures = torch.from_numpy(smooth_pictures(32, SIDE, seed=9))
    with torch.no_grad():
        found, wanted = (_network(each)(normalize_pixels(pictures, each.image)) for each in (model, original))
    return float(F.cosine_similarity(found, wanted).mean())


@pytest.mark.parametrize("original", [small_model(), global_model()], ids=["pooled", "global"])
def test_smaller_pictures_cost_less_and_mean_nearly_the_same(original: Model) -> None:
    smaller = shrink_input(original, ShrinkInput(SMALLER))
    assert smaller.image.size_wh == (SMALLER, SMALLER)
    assert original.image.size_wh == (SIDE, SIDE)
    before, after = count_macs(original)[0], count_macs(smaller)[0]
    assert before is not None
    assert after is not None
    assert after / before == pytest.approx((SMALLER / SIDE) ** 2, abs=0.02)
    assert _agreement(smaller, original) > 0.9


def test_a_kernel_over_the_whole_picture_keeps_its_sum() -> None:
    original = global_model()
    smaller = _network(shrink_input(original, ShrinkInput(SMALLER))).get_submodule("everywhere")
    kept = _network(original).get_submodule("everywhere")
    assert isinstance(smaller, nn.Conv2d)
    assert isinstance(kept, nn.Conv2d)
    assert smaller.kernel_size == tuple(smaller.weight.shape[2:]) == (SMALLER // 4, SMALLER // 4)
    assert torch.allclose(smaller.weight.sum((2, 3)), kept.weight.sum((2, 3)), atol=1e-5)


def test_the_crop_is_the_same_in_fewer_pixels() -> None:
    original = small_model()
    smaller = shrink_input(original, ShrinkInput(SIDE // 2))
    assert original.alignment is not None
    assert smaller.alignment is not None
    photo = smooth_pictures(1, 64)[0]
    landmarks = detect_middle(photo).landmarks_xy[0]
    large, small = (align(photo, landmarks, each) for each in (original.alignment, smaller.alignment))
    halved = large.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean((1, 3))
    assert np.abs(halved - small)[2:-2, 2:-2].mean() < 3  # beyond the photo it is black


def test_an_engine_gets_pictures_of_its_own_size() -> None:
    smaller = reference_engine(shrink_input(small_model(), ShrinkInput(SMALLER)))
    pictures = smooth_pictures(3, SIDE)
    assert fitted(smaller, pictures).shape == (3, SMALLER, SMALLER, 3)
    assert fitted(reference_engine(small_model()), pictures) is pictures


@pytest.mark.parametrize("hints", [Hints(), Hints(layers=(("depthwise", "depthwise"),), weight=0.1)], ids=["", "hints"])
def test_it_learns_from_a_teacher_that_sees_the_large_pictures(hints: Hints, tmp_path: Path) -> None:
    teacher = global_model()
    smaller = shrink_input(teacher, ShrinkInput(12))
    crops = [smooth_pictures(32, training_alignment(teacher).size_wh[0])]
    trained = distil(smaller, teacher, replace(LEARN, hints=hints), crops, tmp_path)
    assert 1 - _agreement(trained, teacher) < 0.75 * (1 - _agreement(smaller, teacher))


def test_int8s_rounding_is_learnt_on_the_smaller_pictures(tmp_path: Path) -> None:
    teacher = global_model()
    smaller = shrink_input(teacher, ShrinkInput(12))
    crops = [smooth_pictures(32, training_alignment(teacher).size_wh[0])]
    settings = Qat(steps=120, batch=8, learning_rate=1e-2, warmup=2, ema=0.5, views=2, precision="fp32")
    assert 1 - _agreement(qat(smaller, teacher, settings, crops, tmp_path), teacher) < 0.75 * (1 - _agreement(smaller, teacher))


def test_a_recipes_pass_after_it_finds_faces_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facette.compress.find_with", lambda _: detect_middle)
    write_photos(tmp_path / "faces", 12)
    given = Supplies((tmp_path / "faces",), small_model(), Cache(tmp_path / "cache"), lambda _: None)
    models = compress(global_model(), [ShrinkInput(SMALLER), replace(LEARN, steps=2, batch=6)], given)
    assert [model.image.size_wh[0] for model in models] == [SIDE, SMALLER, SMALLER]


def test_what_has_no_smaller_picture_is_refused() -> None:
    model = small_model()
    for side in (0, SIDE, 48):
        with pytest.raises(FacetteError, match=r"32x32; shrink-input makes square ones smaller, side 1 to 31"):
            shrink_input(model, ShrinkInput(side))
    with pytest.raises(FacetteError, match="ONNX"):
        shrink_input(replace(model, network=Path("network.onnx")), ShrinkInput(SMALLER))
    with pytest.raises(FacetteError, match="is a detector"):
        shrink_input(replace(model, alignment=None), ShrinkInput(SMALLER))
    by_place = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 6))
    with pytest.raises(FacetteError, match="does not work on pictures of 24x24: mat1 and mat2"):
        shrink_input(replace(model, network=by_place), ShrinkInput(SMALLER))
