"""What a detector's training recipe says: a frozen dataclass, read from TOML by `facette_runtime.schema.from_dict`."""

from __future__ import annotations

from dataclasses import dataclass, field

from facette.data.pseudo_labels import View
from facette.data.scenes import SceneConfig
from facette.train.detect_loss import LossWeights
from facette.train.loop import LoopConfig


@dataclass(frozen=True, slots=True)
class PortraitSource:
    """A zip file of portraits.

    Attributes:
        file: its name in the data folder.
        views: how the teacher sees a photo: boxes are those of the first view, landmarks the mean over all: see `detect_in_views`.
        limit: photos taken, evenly spread; 0 for all.
    """

    file: str
    views: tuple[View, ...]
    limit: int = 0

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError(f"views of {self.file} must name at least one")


@dataclass(frozen=True, slots=True)
class Round:
    """One training of the student, with a schedule of its own.

    Attributes:
        loop: the optimisation.
        scenes: what the training pictures look like.
        keep: how many channels are left before the round begins, by the name of a layer that makes them; the least important ones
            go, with all that hangs on them: see `facette.train.narrow`. Layers not named keep theirs.
    """

    loop: LoopConfig
    scenes: SceneConfig = field(default_factory=SceneConfig)
    keep: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DetectorTraining:
    """Everything that decides what a run gives.

    Attributes:
        name: of the network.
        rounds: trainings one after another, each from the averaged weights that the last one left: warm restarts of the schedule
            (Loshchilov & Hutter, 2017, section 3).
        portraits: photos that the teacher labels.
        weights: of the loss's parts.
        portraits_sure, crowds_sure: teacher scores from which a detection is a face; fainter ones are neither face nor background.
        crowds: zip file like facemask853 (photos and Pascal VOC boxes), of which the training half is used; empty for none.
        mask_rate, block_rate: share of faces behind a painted mask or a block.
        crowds_limit: crowd photos taken; 0 for all.
        compile: whether torch compiles the network first: minutes of waiting, then half as long again a step is saved.
    """

    name: str
    rounds: tuple[Round, ...]
    portraits: tuple[PortraitSource, ...]
    weights: LossWeights = field(default_factory=LossWeights)
    crowds: str = ""
    portraits_sure: float = 0.8
    crowds_sure: float = 0.6
    mask_rate: float = 0.12
    block_rate: float = 0.06
    crowds_limit: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        if not self.portraits:
            raise ValueError("portraits must name at least one file")
        if not self.rounds:
            raise ValueError("rounds must hold at least one")

    @property
    def seed(self) -> int:
        """The first round's, which decides on all that comes before training too."""
        return self.rounds[0].loop.seed
