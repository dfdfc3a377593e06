"""A data folder in LFW's layout with pictures of plain colours: red people, blue people, and a photo too dark to show a face."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

PEOPLE = {"Ann": (40, 60, 250), "Bob": (250, 90, 40)}


def write(folder: Path, folds: int = 2, dark: str | None = None) -> Path:
    """Two photos a person; each fold holds two same-person and two different-person pairs. ``dark`` names a black photo."""
    same = "Ann\t1\t2\nBob\t1\t2\n"
    different = "Ann\t1\tBob\t1\nAnn\t2\tBob\t2\n"
    (folder / "lfw-pairs.txt").write_text(f"{folds}\t2\n" + (same + different) * folds)
    for kind, size in (("lfw-raw-250", 250), ("lfw-aligned-112", 112)):
        with zipfile.ZipFile(folder / f"{kind}.zip", "w") as archive:
            for person, colour in PEOPLE.items():
                for number in (1, 2):
                    name = f"{person}/{person}_{number:04d}.jpg"
                    archive.writestr(name, _jpeg(size, (0, 0, 0) if name == dark else colour, number))
    return folder


def _jpeg(size: int, colour: tuple[int, int, int], seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-5, 6, (size, size, 3))
    image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    encoded, data = cv2.imencode(".jpg", image)
    assert encoded
    return data.tobytes()
