"""dlib's ResNet: sizes, shapes, and the cut-down versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from facette.nets.dlib_resnet import Block, DlibResNet, DlibResNetConfig, chip_alignment, filters
from facette.nets.vgg import Vgg16, VggConfig
from facette.train.shrink import choose_channels, shrink
from facette_runtime.errors import FacetteError

TINY = DlibResNetConfig((4, 6, 8, 8, 8), (2, 2, 1, 1, 1), (4, 4, 4, 4, 6, 6, 6), 8)


def test_the_original_has_its_published_size() -> None:
    # Published: 5,614,592 with the affine layers, which are folded away here.
    network = DlibResNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_607_488


def test_the_picture_shrinks_as_in_dlib() -> None:
    network = DlibResNet(TINY)
    sizes: list[int] = []
    for level in network.levels:
        level.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
    assert network(torch.zeros(2, 3, 150, 150)).shape == (2, 8)
    assert sizes == [35, 17, 8, 4, 2]


def test_missing_channels_and_pixels_of_the_sum_are_zeros() -> None:
    block = Block(2, 3, 5, down=True).eval()
    x = torch.rand(1, 2, 8, 8)
    shortcut = block.shortcut(x)
    assert shortcut.shape == (1, 5, 4, 4)
    assert torch.equal(shortcut[:, 2:], torch.zeros(1, 3, 4, 4))
    # The convolutions give 3 × 3: the last row and column are the shortcut alone.
    assert torch.equal(block.before_relu(x)[:, :, 3], shortcut[:, :, 3])
    assert not torch.equal(block.before_relu(x)[:, :, 0], shortcut[:, :, 0])


@pytest.mark.parametrize(
    ("streams", "blocks", "inners", "message"),
    [
        ((8, 4), (1, 1), (4, 4), "streams must not shrink"),
        ((4, 8), (1, 0), (4,), "each level after the first"),
        ((4, 8), (1,), (4,), "as many"),
        ((4, 8), (1, 1), (4, 4, 4), "one number for each of 2 blocks"),
    ],
)
def test_impossible_widths_are_refused(
    streams: tuple[int, ...], blocks: tuple[int, ...], inners: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DlibResNetConfig(streams, blocks, inners)


def test_too_few_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="one number for the stem and two for each block"):
        DlibResNetConfig((4, 8), (1, 1), (4, 4), ranks=(2, 2, 2))


def test_filters_of_two_convolutions_in_a_row_are_those_of_one() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 5, 9, 9)
    block = Block(5, 4, 6, down=True, ranks=(3, 0))
    stem = nn.Sequential(nn.Conv2d(5, 2, 7, 2, bias=False), nn.Conv2d(2, 4, 1))
    for layers, stride in ((block.conv1, 2), (stem, 2)):
        whole = nn.functional.conv2d(x, filters(layers), layers[1].bias, stride)
        assert torch.allclose(layers(x), whole, atol=1e-6)
    assert filters(block.conv2) is block.conv2.weight


def test_a_single_position_gets_no_taps_for_its_neighbours() -> None:
    network = DlibResNet(replace(TINY, ranks=(3,) * 15)).eval()
    met: dict[str, tuple[int, ...]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.register_forward_hook(lambda _layer, inputs, _output, name=name: met.update({name: inputs[0].shape[2:]}))
    network(torch.zeros(1, 3, 150, 150))
    assert len(met) == 13  # of 14: the stem is 7 × 7, the last is 1 × 1
    assert min(min(sides) for sides in met.values()) > 1


def test_the_chip_has_the_eyes_where_dlib_puts_them() -> None:
    template = np.array(chip_alignment().template_xy)
    assert template[0] == pytest.approx((47.55, 46.6), abs=0.01)
    assert template[1] == pytest.approx((100.48, 46.6), abs=0.01)
    # A margin moves all points by the same amount and leaves their distances alone.
    shift = np.array(chip_alignment(182, (182 / 150 * 1.5 - 1) / 2).template_xy) - template
    assert shift == pytest.approx(np.full((5, 2), 16.0), abs=0.01)


def test_cutting_nothing_changes_nothing() -> None:
    torch.manual_seed(0)
    teacher = DlibResNet(TINY).eval()
    pixels = torch.rand(96, 3, 150, 150)
    student = shrink(teacher, TINY, pixels, nn.Identity(), 0)
    wanted = teacher(pixels[:8])
    assert (student(pixels[:8]) - wanted).norm() < 0.05 * wanted.norm()


def test_a_cut_network_imitates_its_teacher_better_than_chance() -> None:
    torch.manual_seed(0)
    teacher = DlibResNet(TINY).eval()
    pixels = torch.rand(64, 3, 150, 150) * torch.rand(64, 3, 1, 1)
    config = DlibResNetConfig((3, 5, 6, 7, 7), (1, 1, 1, 1, 1), (3, 3, 4, 4, 4), 8)
    student = shrink(teacher, config, pixels, nn.Identity(), 0)
    wanted = teacher(pixels)
    spread = (wanted - wanted.mean(0)).norm()
    assert (student(pixels) - wanted).norm() < 0.5 * spread
    with pytest.raises(FacetteError, match="level 1"):
        shrink(teacher, DlibResNetConfig((5, 6, 8, 8, 8), TINY.blocks, TINY.inners, 8), pixels, nn.Identity(), 0)


def test_full_ranks_lose_nothing_and_low_ones_little() -> None:
    torch.manual_seed(0)
    teacher = DlibResNet(TINY).eval()
    pixels = torch.rand(96, 3, 150, 150) * torch.rand(96, 3, 1, 1)
    wanted = teacher(pixels)
    spread = (wanted - wanted.mean(0)).norm()
    whole = (4, 4, 4, 4, 4, 4, 4, 6, 4, 6, 4, 8, 6, 8, 6)
    half = tuple(rank // 2 for rank in whole)
    errors = []
    for ranks in (whole, half):
        student = shrink(teacher, replace(TINY, ranks=ranks), pixels, nn.Identity(), 0)
        errors.append(float(((student(pixels) - wanted).norm() / spread).detach()))
    assert errors[0] < 0.05
    assert errors[0] < errors[1] < 0.5


def test_a_network_of_low_rank_can_be_cut_again() -> None:
    torch.manual_seed(0)
    teacher = DlibResNet(replace(TINY, ranks=(3,) * 15)).eval()
    pixels = torch.rand(64, 3, 150, 150) * torch.rand(64, 3, 1, 1)
    config = DlibResNetConfig((3, 5, 6, 7, 7), (1, 1, 1, 1, 1), (3, 3, 4, 4, 4), 8, (2,) * 11)
    wanted = teacher(pixels)
    student = shrink(teacher, config, pixels, nn.Identity(), 0)
    spread = (wanted - wanted.mean(0)).norm()
    assert (student(pixels) - wanted).norm() < 0.5 * spread
    assert (shrink(teacher, TINY, pixels, nn.Identity(), 0)(pixels) - wanted).norm() < 0.05 * spread


def test_chosen_channels_skip_copies_and_keep_what_was_kept() -> None:
    x = torch.randn(50, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 0]
    strength = torch.tensor([2.0, 2.0, 1.0, 0.5])
    assert sorted(choose_channels([x], strength, 3, torch.zeros(0, dtype=torch.long)).tolist())[1:] == [2, 3]
    assert choose_channels([x], strength, 2, torch.tensor([3])).tolist()[0] == 3


def test_vgg_embeds_with_its_penultimate_layer() -> None:
    network = Vgg16(VggConfig(identities=7, embedding_size=16, input_size=32)).eval()
    x = torch.rand(2, 3, 32, 32)
    assert network(x).shape == (2, 16)
    assert network.classify(x).shape == (2, 7)
    with pytest.raises(ValueError, match="multiple of 32"):
        VggConfig(input_size=100)
