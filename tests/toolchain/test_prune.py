"""Structured pruning: what hangs together goes together, outputs keep their shapes, budgets are met, and refitting helps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facette import sensitivity
from facette.catalogue import CATALOGUE
from facette.model import Model
from facette.nets.dlib_resnet import DlibResNet, DlibResNetConfig
from facette.nets.mobilefacenet import Bottleneck, MobileFaceNet
from facette.passes.prune import Prune, prune, prune_schedule
from facette.pruning.blocks import find_blocks
from facette.pruning.costs import count_costs
from facette.pruning.cut import narrow_to
from facette.pruning.feed import as_tuple, noise, normalised
from facette.pruning.groups import find_groups
from facette.pruning.reconstruction import forward_selection
from facette.pruning.resume import find_checkpoints
from facette.pruning.scores import DATA_DRIVEN, Criterion, score
from facette.reference import count_macs
from facette.weights import load_weights
from facette.zoo import weights_path
from facette_runtime.errors import FacetteError, SchemaError
from facette_runtime.schema import from_dict


class Small(nn.Module):
    """A residual embedder with batch norms, PReLUs and depthwise convolutions, made of MobileFaceNet's own blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16))
        self.down = Bottleneck(16, 16, 32, 2)
        self.blocks = nn.Sequential(*[Bottleneck(16, 16, 32, 1) for _ in range(2)])
        self.last = nn.Conv2d(16, 32, 8, groups=1)
        self.embedding = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks(self.down(self.stem(x))))
        return self.embedding(x.flatten(1))


def as_model(network: nn.Module, like: Model, size: int = 32) -> Model:
    return replace(like, network=network.eval(), image=replace(like.image, size_wh=(size, size)))


@pytest.fixture
def small(tiny_models: tuple[Model, Model]) -> Model:
    """With weights and batch norms that are not all alike."""
    torch.manual_seed(3)
    network = Small()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean, std=0.1)
    return as_model(network, tiny_models[1])


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8 [96, 32, 32, 3]: smooth, so that neighbouring channels have something in common."""
    coarse = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (96, 3, 5, 5)).astype(np.float32))
    return nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def outputs(model: Model, pictures: np.ndarray) -> Tensor:
    assert isinstance(model.network, nn.Module)
    with torch.no_grad():
        result: Tensor = model.network(normalised(model.image, pictures))
    return result


def likeness(model: Model, other: Model, pictures: np.ndarray) -> float:
    return float(nn.functional.cosine_similarity(outputs(model, pictures), outputs(other, pictures)).mean())


def known(name: str, network: nn.Module | None = None, size_wh: tuple[int, int] | None = None) -> Model:
    entry = CATALOGUE[name]
    torch.manual_seed(0)
    image = replace(entry.image, size_wh=size_wh or entry.image.size_wh)
    return Model(name, (network or entry.build()).eval(), image, entry.decoder, entry.letterbox, entry.alignment, (), "")


def widths(model: Model) -> dict[str, tuple[int, ...]]:
    assert isinstance(model.network, nn.Module)
    return {name: tuple(value.shape) for name, value in model.network.state_dict().items()}


def test_groups_of_a_residual_network(small: Model) -> None:
    groups = {group.name: group for group in find_groups(small)}
    assert list(groups) == ["stem.0", "down.sep.0", "down.proj.0", "blocks.0.sep.0", "blocks.1.sep.0", "last"]
    inner = groups["blocks.0.sep.0"]
    assert inner.size == 32
    assert set(inner.makers) == {f"blocks.0.{part}" for part in ("sep.0", "sep.1", "sep.2", "dw.0", "dw.1", "dw.2")}
    stream = {member.layer for member in groups["down.proj.0"].members if member.side == "in"}
    assert stream == {"blocks.0.sep.0", "blocks.1.sep.0", "last"}


def test_torch_pruning_finds_the_same_groups(small: Model) -> None:
    pruning = pytest.importorskip("torch_pruning")
    assert isinstance(small.network, nn.Module)
    names = {module: name for name, module in small.network.named_modules()}
    graph = pruning.DependencyGraph().build_dependency(small.network, noise(small.image), verbose=False)
    theirs = set()
    for items in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]):
        layers = {names[item.dep.target.module] for item in items if item.dep.target.module in names}
        theirs.add((len(items[0].idxs), frozenset(layers)))
    ours = {(group.size, frozenset(member.layer for member in group.members)) for group in find_groups(small)}
    assert theirs - ours == {(8, frozenset({"embedding"}))}  # which is the output
    assert ours <= theirs


def test_the_embedding_is_in_no_group(small: Model) -> None:
    assert not any(maker == "embedding" for group in find_groups(small) for maker in group.makers)


@pytest.mark.parametrize(
    ("name", "size_wh", "count"),
    [("mobilefacenet-y1", None, 20), ("retinaface-mobilenet025", (64, 64), 32), ("facette-detect", (128, 128), 7)],
)
def test_known_networks_run_when_half_is_gone(name: str, size_wh: tuple[int, int] | None, count: int) -> None:
    model = known(name, size_wh=size_wh)
    assert len(find_groups(model)) == count
    cut = prune(model, Prune(macs=0.5, criterion="l2", refit=False))
    assert isinstance(model.network, nn.Module)
    assert isinstance(cut.network, nn.Module)
    before, after = count_macs(model), count_macs(cut)
    assert before[0] is not None
    assert after[0] is not None
    assert 0.42 <= after[0] / before[0] <= 0.5
    with torch.no_grad():
        wanted, given = as_tuple(model.network(noise(model.image))), as_tuple(cut.network(noise(model.image)))
    assert [value.shape for value in given] == [value.shape for value in wanted]


def test_dlibs_padded_streams_lose_only_what_the_padding_allows() -> None:
    config = DlibResNetConfig(streams=(16, 32), blocks=(2, 2), inners=(16, 16, 32, 32), size=8)
    model = known("dlib-resnet", DlibResNet(config), (64, 64))
    groups = {group.name: group.size for group in find_groups(model)}
    # The stem's channels run through all levels; those that the second level adds are written in the network's padding.
    assert groups == {"stem": 16} | {f"levels.{level}.{block}.conv1": 16 * (level + 1) for level in (0, 1) for block in (0, 1)}
    cut = prune(model, Prune(ratio=0.5, criterion="l1", scope="uniform", refit=False))
    assert widths(cut)["levels.1.1.conv1.weight"] == (16, 24, 3, 3)
    assert outputs(cut, np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 8)


def test_a_network_whose_code_knows_its_width_is_left_alone(tiny_models: tuple[Model, Model]) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)
            self.gain = nn.Parameter(torch.ones(1, 16, 1, 1))
            self.embedding = nn.Linear(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.embedding((self.conv(x) * self.gain).mean((2, 3)))

    with pytest.raises(FacetteError, match="no layer has channels that can be cut"):
        find_groups(as_model(Stubborn(), tiny_models[1]))


def test_costs_are_those_of_the_cut_network(small: Model) -> None:
    groups = find_groups(small)
    costs = count_costs(small, groups)
    cut = prune(small, Prune(ratio=0.4, criterion="random", scope="global", round_to=1, refit=False))
    shapes = widths(cut)
    gone = {group.name: group.size - shapes[f"{group.name}.weight"][0] for group in groups}
    assert any(gone.values())
    assert costs.macs({}) == count_macs(small)[0]
    assert costs.macs(gone) == count_macs(cut)[0]


@pytest.mark.parametrize(("round_to", "macs"), [(8, 0.5), (16, 0.7)])
def test_what_is_left_comes_in_multiples(round_to: int, macs: float, small: Model) -> None:
    cut = prune(small, Prune(macs=macs, criterion="l1", round_to=round_to, refit=False))
    assert all(shape[0] % round_to == 0 for name, shape in widths(cut).items() if name.endswith("0.weight"))
    assert widths(cut) != widths(small)


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn-scale", "taylor", "hessian", "reconstruction", "random"])
def test_every_criterion_gives_the_same_network_again(criterion: Criterion, small: Model, pictures: np.ndarray) -> None:
    settings = Prune(
        macs=0.6, criterion=criterion, scope="uniform" if criterion == "bn-scale" else "global", round_to=4, refit=False
    )
    if criterion == "bn-scale":
        with pytest.raises(FacetteError, match="'last' have none"):
            prune(small, settings, pictures)
        return
    first, second = (prune(small, settings, pictures) for _ in range(2))
    assert widths(first) == widths(second) != widths(small)
    assert torch.equal(outputs(first, pictures[:2]), outputs(second, pictures[:2]))
    if criterion in DATA_DRIVEN:
        with pytest.raises(FacetteError, match="looks at pictures"):
            prune(small, settings)


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor", "hessian", "reconstruction"])
def test_channels_that_nobody_reads_go_first(criterion: Criterion, small: Model, pictures: np.ndarray) -> None:
    assert isinstance(small.network, Small)
    dead = torch.tensor([1, 5, 30])
    with torch.no_grad():
        small.network.blocks[0].proj[0].weight[:, dead] = 0  # type: ignore[index,operator]
        small.network.blocks[0].sep[0].weight[dead] = 1e-6  # type: ignore[index,operator]
    groups = tuple(group for group in find_groups(small) if group.name == "blocks.0.sep.0")
    scores = score(small, groups, criterion, pictures, 0)["blocks.0.sep.0"]
    assert set(scores.argsort()[:3].tolist()) == set(dead.tolist())


def test_a_channel_that_another_predicts_is_worth_little() -> None:
    base = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    spread = torch.cov(torch.cat([base, 10 * base[:, :1]], dim=1).T)
    gains = forward_selection([(spread, torch.eye(4, dtype=torch.double))])
    assert max(float(gains[0]), float(gains[3])) > 0.9
    assert min(float(gains[0]), float(gains[3])) < 1e-6  # its twin says it all
    assert float(gains.sum()) == pytest.approx(1.0)


def test_ratios_by_layer_and_their_errors(small: Model) -> None:
    settings = Prune(scope="per-layer", layers={"blocks.0.dw.0": 0.5}, criterion="l1", refit=False)
    cut = prune(small, settings)
    changed = {name for name, shape in widths(cut).items() if shape != widths(small)[name] and name.endswith("weight")}
    assert changed == {f"blocks.0.{part}.weight" for part in ("sep.0", "sep.1", "sep.2", "dw.0", "dw.1", "dw.2", "proj.0")}
    scaled = prune(small, replace(settings, layers={"last": 0.2, "blocks.0.sep.0": 0.1}, macs=0.9))
    assert widths(scaled)["last.weight"][0] < widths(scaled)["blocks.0.sep.0.weight"][0]
    with pytest.raises(FacetteError, match=r"'nowhere' has no channels.*stem\.0"):
        prune(small, replace(settings, layers={"nowhere": 0.5}))


def test_refitting_brings_the_outputs_back(small: Model, pictures: np.ndarray) -> None:
    fit, held = pictures[:64], pictures[64:]
    settings = Prune(macs=0.6, criterion="reconstruction", scope="uniform", round_to=4, refit=False)
    plain, refitted = prune(small, settings, fit), prune(small, replace(settings, refit=True), fit)
    assert widths(plain) == widths(refitted)
    assert likeness(refitted, small, held) > likeness(plain, small, held) + 0.02
    assert likeness(refitted, small, held) > 0.8


def test_refitting_brings_a_detector_back(pictures: np.ndarray) -> None:
    model = known("facette-detect", size_wh=(128, 128))
    assert isinstance(model.network, nn.Module)
    load_weights(model.network, weights_path("facette-detect"))
    large = np.repeat(np.repeat(pictures[:24], 4, axis=1), 4, axis=2)
    settings = Prune(macs=0.6, criterion="l2", refit=False)
    cuts = [prune(model, settings, large[:16]), prune(model, replace(settings, refit=True), large[:16])]
    plain, refitted = (sensitivity.likeness(model, large[16:])(cut) for cut in cuts)
    assert refitted > plain + 0.02


def test_refitting_needs_pictures(small: Model) -> None:
    with pytest.raises(FacetteError, match="refit = true needs pictures"):
        prune(small, Prune(macs=0.5, criterion="l1"))


def test_the_original_is_left_alone(small: Model, pictures: np.ndarray) -> None:
    before, shapes = outputs(small, pictures[:2]).clone(), widths(small)
    prune(small, Prune(macs=0.6, scope="uniform", round_to=4, criterion="taylor"), pictures)
    assert torch.equal(outputs(small, pictures[:2]), before)
    assert widths(small) == shapes
    assert isinstance(small.network, nn.Module)
    assert all(parameter.requires_grad for parameter in small.network.parameters())


def test_blocks_are_the_modules_with_a_plain_shortcut(small: Model) -> None:
    assert [(block.name, block.last) for block in find_blocks(small)] == [(f"blocks.{i}", f"blocks.{i}.proj.0") for i in (0, 1)]
    model = known("dlib-resnet", DlibResNet(DlibResNetConfig((8, 16), (2, 2), (8,) * 4, 8)), (64, 64))
    assert [block.name for block in find_blocks(model)] == ["levels.0.0", "levels.0.1", "levels.1.1"]


@pytest.mark.parametrize("criterion", ["l2", "bn-scale", "random", "taylor"])
def test_whole_blocks_go(criterion: Criterion, small: Model, pictures: np.ndarray) -> None:
    cut = prune(small, Prune(granularity="blocks", ratio=0.5, criterion=criterion), pictures)
    assert isinstance(cut.network, nn.Module)
    gone = [name for name, part in cut.network.named_modules() if isinstance(part, nn.Identity)]
    assert len(gone) == 1
    assert outputs(cut, pictures[:2]).shape == (2, 8)


def test_the_block_that_does_least_goes(small: Model, pictures: np.ndarray) -> None:
    assert isinstance(small.network, Small)
    norm = small.network.blocks[1].proj[1]  # type: ignore[index,union-attr]
    with torch.no_grad():
        norm.weight.mul_(1e-3)
        norm.bias.zero_()
    cut = prune(small, Prune(granularity="blocks", ratio=0.5, criterion="taylor", refit=False), pictures)
    assert isinstance(cut.network, Small)
    assert isinstance(cut.network.blocks[1], nn.Identity)
    assert likeness(cut, small, pictures) > 0.999


def test_a_pruned_network_is_remade_from_its_weights(small: Model, pictures: np.ndarray) -> None:
    cut = prune(small, Prune(granularity="blocks", ratio=0.5, criterion="l2", refit=False))
    cut = prune(cut, Prune(macs=0.6, criterion="l2", round_to=4, refit=False))
    assert isinstance(small.network, nn.Module)
    assert isinstance(cut.network, nn.Module)
    remade = narrow_to(small.network, cut.network.state_dict())
    remade.load_state_dict(cut.network.state_dict())
    assert torch.equal(outputs(replace(small, network=remade), pictures[:4]), outputs(cut, pictures[:4]))
    with pytest.raises(FacetteError, match=r"stem\.0\.weight has shape"):
        narrow_to(cut.network, small.network.state_dict())


def test_checkpoints_split_a_network_where_one_tensor_passes(small: Model) -> None:
    assert isinstance(small.network, nn.Module)
    assert find_checkpoints(small.network, noise(small.image))[-3:] == ("blocks.0", "blocks.1", "blocks")


def test_a_schedule_reaches_the_target_in_equal_steps() -> None:
    steps = prune_schedule(Prune(macs=0.25, steps=2))
    assert [step.macs for step in steps] == [0.5, 0.5]
    assert [step.steps for step in steps] == [1, 1]
    steps = prune_schedule(Prune(ratio=0.75, steps=2))
    assert [step.ratio for step in steps] == [0.5, 0.5]


def test_steps_prune_and_refit_in_rounds(small: Model, pictures: np.ndarray) -> None:
    cut = prune(small, Prune(macs=0.5, steps=2, criterion="reconstruction", scope="uniform", round_to=1), pictures)
    before, after = count_macs(small)[0], count_macs(cut)[0]
    assert before is not None
    assert after is not None
    assert 0.4 <= after / before <= 0.5


def test_a_budget_that_cannot_be_met_is_refused(small: Model) -> None:
    with pytest.raises(FacetteError, match=r"macs = 0\.01 can't be reached"):
        prune(small, Prune(macs=0.01, criterion="l1", refit=False))


def test_an_onnx_file_is_refused(small: Model) -> None:
    with pytest.raises(FacetteError, match="can't be pruned"):
        prune(replace(small, network=Path("net.onnx")), Prune(macs=0.5, criterion="l1", refit=False))


def test_settings_are_read_from_a_table() -> None:
    table = {"kind": "prune", "macs": 0.5, "criterion": "l1", "scope": "per-layer", "layers": {"a": 0.5}}
    assert from_dict(Prune, table, "passes[0]") == Prune(macs=0.5, criterion="l1", scope="per-layer", layers={"a": 0.5})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "give macs"),
        ({"macs": 0.5, "ratio": 0.5}, "not both"),
        ({"macs": 2.0}, r"macs must lie in 0\.\.1"),
        ({"macs": 0.5, "layers": {"a": 0.1}}, "go together"),
        ({"macs": 0.5, "criterion": "magic"}, "not one of l1"),
        ({"macs": 0.5, "round_to": 0}, "at least 1"),
        ({"macs": 0.5, "steps": 0}, "at least 1"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_dict(Prune, table, "passes[0]")


def test_stock_mobilefacenet_keeps_its_embedding() -> None:
    cut = prune(known("mobilefacenet-y1"), Prune(macs=0.25, criterion="l2", round_to=16, refit=False))
    assert isinstance(cut.network, MobileFaceNet)
    assert cut.network.embedding.weight.shape[0] == 128
    assert cut.network.stage4[0].dw[0].groups == cut.network.stage4[0].sep[0].out_channels  # type: ignore[index,union-attr]
