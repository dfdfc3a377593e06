"""What a point detector should say about a scene, and how wrong it is.

Assignment follows FCOS (Tian et al., 2019, section 3.1): a cell near the centre of a face, on a level that suits the face's size,
answers for it. Scores are trained with the quality focal loss (Li et al., 2020, section 3.2), boxes with the distance-IoU loss
(Zheng et al., 2020, section 3.2), landmarks with a smooth L1 loss (Girshick, 2015, section 2.3) in units of the face's side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facette.nets.facette_detect import STRIDES

FACE, DOUBTFUL = 1, 2
"""Kinds of a labelled region; 0 is an empty place in a padded batch."""

SIDES = ((0.0, 40.0), (28.0, 144.0), (112.0, float("inf")))
"""Faces that each level answers for: square root of the box's area in pixels. They overlap, so that no size falls between two.
The coarsest level begins late: of faces near 100 pixels the middle one knows the landmarks a fifth better."""

RADIUS = 1.5
"""How far a cell that answers may be from the face's centre, in strides, by the larger of both coordinates."""

CORE = 0.75
"""Up to here a cell answers with full weight; from here to `RADIUS` the weight falls to `RIM`."""

RIM = 0.25
LANDMARK_BETA = 0.005
"""Below this error, in units of the face's side, the landmark loss turns from linear to quadratic."""


LANDMARK_SIDE = 64.0
"""Landmarks of faces with this side in pixels, or larger, count in full; of smaller ones in proportion, but at least `LEAST`."""

LEAST = 0.2


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each part of the loss counts."""

    score: float = 1.0
    box: float = 1.5
    landmarks: float = 25.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What the cells of a batch should say.

    Attributes:
        cells: float32 [c, 3]: centre x, y and stride, pixels; in the network's output order.
        weight: float32 [b, c]: 0 where a cell is background, else how central it is for its face, up to 1.
        ignored: bool [b, c]: cells whose score is not trained.
        face: int64 [b, c]: index of the cell's face; 0 where there is none.
    """

    cells: Tensor
    weight: Tensor
    ignored: Tensor
    face: Tensor


def cell_grid(height: int, width: int, device: torch.device) -> Tensor:
    """float32 [c, 3]: centre x, y and stride of every cell, in the order stride, row, column."""
    levels = []
    for stride in STRIDES:
        rows, columns = torch.meshgrid(
            torch.arange(-(-height // stride), device=device), torch.arange(-(-width // stride), device=device), indexing="ij"
        )
        centres = (torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5) * stride
        levels.append(torch.cat([centres, torch.full_like(centres[:, :1], stride)], dim=1))
    return torch.cat(levels).float()


def assign(boxes_xyxy: Tensor, kinds: Tensor, cells: Tensor) -> Targets:
    """Says which cell answers for which face.

    A cell answers when its centre is in the face's box and near the box's centre, and its level suits the size; of several
    faces it takes the smallest. Cells in doubtful regions that answer for nobody are ignored.

    Args:
        boxes_xyxy: float32 [b, f, 4], pixels.
        kinds: uint8 [b, f]: `FACE`, `DOUBTFUL` or 0.
        cells: see `cell_grid`.
    """
    points, strides = cells[:, :2], cells[:, 2]
    low, high = boxes_xyxy[:, None, :, :2], boxes_xyxy[:, None, :, 2:]
    inside = ((points[None, :, None] > low) & (points[None, :, None] < high)).all(dim=-1)
    distance = ((low + high) / 2 - points[None, :, None]).abs().amax(dim=-1) / strides[None, :, None]
    areas = (high - low).clamp(min=0).prod(dim=-1)
    ranges = cells.new_tensor(SIDES)[torch.log2(strides / STRIDES[0]).long()]
    suits = (areas >= ranges[None, :, :1] ** 2) & (areas <= ranges[None, :, 1:] ** 2)
    answers = inside & suits & (distance < RADIUS) & (kinds == FACE)[:, None]
    face = torch.where(answers, areas, torch.inf).argmin(dim=-1)
    taken = answers.any(dim=-1)
    away = distance.gather(2, face[..., None]).squeeze(-1)
    central = 1 - (1 - RIM) * ((away - CORE) / (RADIUS - CORE)).clamp(0, 1)
    ignored = (inside & (kinds == DOUBTFUL)[:, None]).any(dim=-1) & ~taken
    return Targets(cells, torch.where(taken, central, 0.0), ignored, torch.where(taken, face, 0))


def detection_loss(
    outputs: tuple[Tensor, Tensor, Tensor],
    boxes_xyxy: Tensor,
    landmarks_xy: Tensor,
    kinds: Tensor,
    cells: Tensor,
    weights: LossWeights,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch and its parts.

    Args:
        outputs: distances [b, c, 4], score logits [b, c] and landmark offsets [b, c, 10], as `FacetteDetect.predict` gives them.
        boxes_xyxy: float32 [b, f, 4], pixels.
        landmarks_xy: float32 [b, f, 10], pixels; NaN where unknown.
        kinds: uint8 [b, f].
        cells: see `cell_grid`.
        weights: of the parts.
    """
    distances, logits, offsets = (output.float() for output in outputs)
    targets = assign(boxes_xyxy, kinds, cells)
    batch, cell = torch.nonzero(targets.weight > 0, as_tuple=True)
    face, weight = targets.face[batch, cell], targets.weight[batch, cell]
    total = weight.sum().clamp(min=1.0)
    wanted_boxes = boxes_xyxy[batch, face]
    centres, strides = cells[cell, :2], cells[cell, 2:]
    boxes = torch.cat([centres - distances[batch, cell, :2] * strides, centres + distances[batch, cell, 2:] * strides], dim=1)
    overlap, spread = iou_and_spread(boxes, wanted_boxes)
    box_loss = ((1 - overlap + spread) * weight).sum() / total
    quality = torch.zeros_like(logits)
    # The root keeps small faces, whose IoU a pixel's error halves, above the usual score threshold of 0.5.
    quality[batch, cell] = overlap.detach().clamp(min=0).sqrt() * weight
    score_loss = (quality_focal(logits, quality) * ~targets.ignored).sum() / total
    sides = (wanted_boxes[:, 2:] - wanted_boxes[:, :2]).prod(dim=1, keepdim=True).sqrt()
    points = (centres.repeat(1, 5) + offsets[batch, cell] * strides) / sides
    wanted = landmarks_xy[batch, face] / sides
    known = ~torch.isnan(wanted)
    errors = F.smooth_l1_loss(points, torch.where(known, wanted, points.detach()), beta=LANDMARK_BETA, reduction="none")
    # In a face of a dozen pixels nobody can tell where a mouth ends: such faces would only drown the others.
    clear = (sides.squeeze(1) / LANDMARK_SIDE).clamp(LEAST, 1.0)
    landmark_loss = (errors.mean(dim=1) * weight * clear).sum() / total
    loss = weights.score * score_loss + weights.box * box_loss + weights.landmarks * landmark_loss
    return loss, {"score": float(score_loss.detach()), "box": float(box_loss.detach()), "landmarks": float(landmark_loss.detach())}


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """Cross entropy against a soft target, weighted by the squared distance from it (Li et al., 2020, equation 2 with β = 2)."""
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return entropy * (torch.sigmoid(logits) - quality).square()


def iou_and_spread(boxes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Of paired boxes [n, 4] (corners): IoU [n], and the squared distance of the centres over that of the hull's diagonal [n]."""
    low, high = torch.maximum(boxes[:, :2], wanted[:, :2]), torch.minimum(boxes[:, 2:], wanted[:, 2:])
    common = (high - low).clamp(min=0).prod(dim=1)
    areas = [(corners[:, 2:] - corners[:, :2]).prod(dim=1) for corners in (boxes, wanted)]
    hull = torch.maximum(boxes[:, 2:], wanted[:, 2:]) - torch.minimum(boxes[:, :2], wanted[:, :2])
    centres = (boxes[:, :2] + boxes[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2
    overlap = common / (areas[0] + areas[1] - common).clamp(min=1e-6)
    return overlap, centres.square().sum(dim=1) / hull.square().sum(dim=1).clamp(min=1e-6)
