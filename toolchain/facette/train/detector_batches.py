"""Batches of training scenes for a detector: photos that the teacher labels, scenes made from them, padded tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from facette.data.backgrounds import empty_regions, installed_backgrounds
from facette.data.face_photos import load_facemask, load_portraits
from facette.data.placing import Scene
from facette.data.scene_noise import degrade, noise_bank, occlude
from facette.data.scenes import PhotoBank, SceneConfig, compose
from facette.nets.retinaface import RetinaFace
from facette.train.detect_loss import DOUBTFUL, FACE
from facette.train.detector_recipe import DetectorTraining, Round
from facette.weights import load_weights
from facette_runtime.errors import FacetteError
from facette_runtime.types import FloatArray

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pictures uint8 [b, h, w, 3] BGR, boxes float32 [b, f, 4], landmarks float32 [b, f, 10] (NaN: unknown), kinds uint8 [b, f]."""


def load_teacher(path: Path) -> tuple[RetinaFace, str]:
    """RetinaFace in eval mode, and the sha256 of its weights file.

    Raises:
        FacetteError: the file is missing or holds another network.
    """
    teacher = RetinaFace()
    digest = load_weights(teacher, path)
    return teacher.eval(), digest


def load_bank(recipe: DetectorTraining, data_dir: Path, teacher_weights: Path, cache: Path) -> PhotoBank:
    """Decodes and labels all photos; labels are kept in ``cache``."""
    teacher, digest = load_teacher(teacher_weights)
    portraits = [
        photo
        for source in recipe.portraits
        for photo in load_portraits(
            data_dir / source.file, source.views, recipe.portraits_sure, teacher, digest, cache, source.limit
        )
    ]
    if not portraits:
        raise FacetteError(f"the teacher is sure of no face in {', '.join(source.file for source in recipe.portraits)}")
    crowds = (
        load_facemask(data_dir / recipe.crowds, recipe.crowds_sure, teacher, digest, cache, recipe.crowds_limit)
        if recipe.crowds
        else []
    )
    backgrounds = installed_backgrounds() + empty_regions(np.random.default_rng(recipe.seed), crowds)
    return PhotoBank(portraits, crowds, backgrounds)


def batches(bank: PhotoBank, recipe: DetectorTraining, each: Round, first: int) -> Iterator[Batch]:
    """The batches of a round from its step ``first`` on; each depends on the round's seed and its step alone."""
    cv2.setNumThreads(1)
    noise = noise_bank(np.random.default_rng(each.loop.seed))
    for step in range(first, each.loop.steps):
        generator = np.random.default_rng((each.loop.seed, step))
        scenes = [make_scene(generator, bank, recipe, each.scenes, noise) for _ in range(each.loop.batch_size)]
        yield collate(scenes, each.scenes.max_faces)


def make_scene(
    generator: Generator, bank: PhotoBank, recipe: DetectorTraining, config: SceneConfig, noise: NDArray[np.int16]
) -> Scene:
    """One finished training picture."""
    scene = compose(generator, bank, config)
    occlude(generator, scene, recipe.mask_rate, recipe.block_rate)
    degrade(generator, scene, noise)
    return scene


def collate(scenes: list[Scene], max_faces: int) -> Batch:
    """Stacks scenes; labels are padded to the fullest scene. Of more than ``max_faces`` faces the smallest become doubtful."""
    rows = [_labels(scene, max_faces) for scene in scenes]
    longest = max(1, *(len(kinds) for _, _, kinds in rows))
    boxes, landmarks = np.zeros((len(rows), longest, 4), np.float32), np.zeros((len(rows), longest, 10), np.float32)
    kinds = np.zeros((len(rows), longest), np.uint8)
    for index, (row_boxes, row_landmarks, row_kinds) in enumerate(rows):
        count = len(row_kinds)
        boxes[index, :count], landmarks[index, :count], kinds[index, :count] = row_boxes, row_landmarks, row_kinds
    pictures = torch.from_numpy(np.stack([scene.image_bgr for scene in scenes]))
    return pictures, torch.from_numpy(boxes), torch.from_numpy(landmarks), torch.from_numpy(kinds)


def _labels(scene: Scene, max_faces: int) -> tuple[FloatArray, FloatArray, NDArray[np.uint8]]:
    areas = np.prod(scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2], axis=1)
    order = np.argsort(-areas, kind="stable")
    boxes = np.concatenate([scene.boxes_xyxy[order], scene.doubtful_xyxy])
    landmarks = np.full((len(boxes), 10), np.nan, np.float32)
    landmarks[: len(order)] = scene.landmarks_xy[order].reshape(-1, 10)
    kinds = np.full(len(boxes), DOUBTFUL, np.uint8)
    kinds[: min(len(order), max_faces)] = FACE
    return boxes, landmarks, kinds
