"""Two public-domain portraits that come with packages the toolchain needs anyway, so that nothing has to be downloaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Licence
from facette_runtime.sources import list_pictures, read_picture
from facette_runtime.types import Image


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photo of one person.

    Attributes:
        name: who it is.
        image_bgr: uint8 [h, w, 3], BGR.
        face_xy: about the tip of the nose, pixels.
        licence: of the photo, and who took it.
    """

    name: str
    image_bgr: Image
    face_xy: tuple[float, float]
    licence: str


def portraits() -> tuple[Portrait, ...]:
    """Grace Hopper from matplotlib and Eileen Collins from scikit-image.

    Raises:
        FacetteError: one of the packages is not installed, or comes without its sample picture.
    """
    return (
        Portrait(
            "Grace Hopper",
            _packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
            (263.0, 243.0),
            "public domain: official portrait, James S. Davis, US Navy, 1984; packaged with matplotlib",
        ),
        Portrait(
            "Eileen Collins",
            _packaged("skimage", "data/astronaut.png"),
            (224.0, 125.0),
            "public domain: official portrait, NASA, 1992; packaged with scikit-image",
        ),
    )


def golden_photos(folder: Path | None) -> list[tuple[str, Image]]:
    """Photos to check a compilation with: a user's folder, or else the packaged portraits.

    Args:
        folder: pictures with one clear face each, or None.

    Returns:
        Name and picture (uint8 [h, w, 3], BGR) of each.

    Raises:
        FacetteError: the folder has no pictures, one cannot be read, or a package is missing.
    """
    if folder is None:
        return [(portrait.name, portrait.image_bgr) for portrait in portraits()]
    paths = list_pictures(folder)
    if not paths:
        raise FacetteError(f"{folder}: holds no pictures; expected a few photos with one clear face each")
    return [(path.name, read_picture(path)) for path in paths]


def golden_licence(folder: Path | None) -> Licence:
    """Under which terms the photos of `golden_photos` travel in a bundle."""
    if folder is not None:
        return Licence("data: golden pictures", "the user's own", False, "given with --photos; a few of them travel in the bundle")
    notes = "; ".join(f"{portrait.name}: {portrait.licence}" for portrait in portraits())
    return Licence("data: golden pictures", "public domain", True, notes)


def _packaged(package: str, path: str) -> Image:
    spec = importlib.util.find_spec(package)
    distribution = "scikit-image" if package == "skimage" else package
    if spec is None or spec.origin is None:
        raise FacetteError(f"{distribution} is not installed, and its sample photo is needed: pip install {distribution}")
    file = Path(spec.origin).parent / path
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise FacetteError(f"{file} is missing: pip install --force-reinstall {distribution}")
    return np.asarray(image, np.uint8)
