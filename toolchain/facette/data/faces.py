"""Pictures of faces from a zip file, a folder or a CSV, behind one small interface; and their aligned crops."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from facette_runtime.align import align
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.manifest import Alignment
from facette_runtime.types import Detections, Image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Faces:
    """Named pictures, in a fixed order.

    Attributes:
        names: path of each picture within its source.
        labels: whose face it is, or "" where nobody says.
        read: gives the encoded bytes of a name.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    read: Callable[[str], bytes]

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> Image:
        """uint8 [h, w, 3], BGR.

        Raises:
            FacetteError: it cannot be decoded.
        """
        image = cv2.imdecode(np.frombuffer(self.read(self.names[index]), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise FacetteError(f"{self.names[index]}: not a picture")
        return image


def open_faces(path: Path) -> Faces:
    """Opens a zip file, a folder (a sub-folder a person) or a CSV with the columns ``path,label`` (paths relative to
    the CSV).

    Raises:
        FacetteError: nothing there, another kind of file, or no picture in it.
    """
    if path.is_dir():
        files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.suffix.lower() in PICTURES)
        faces = Faces(tuple(files), tuple(_folder_of(name) for name in files), lambda name: (path / name).read_bytes())
    elif not path.is_file():
        raise FacetteError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".zip":
        # Read whole: a shared handle is not safe across threads, and these archives fit into memory.
        archive = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
        files = sorted(name for name in archive.namelist() if name.lower().endswith(PICTURES))
        faces = Faces(tuple(files), tuple(_folder_of(name) for name in files), archive.read)
    elif path.suffix.lower() == ".csv":
        rows = _csv_rows(path)
        faces = Faces(tuple(row[0] for row in rows), tuple(row[1] for row in rows), lambda name: (path.parent / name).read_bytes())
    else:
        raise FacetteError(f"{path}: not a face data set; valid: a folder, a .zip, or a .csv with the columns path,label")
    if not faces.names:
        raise FacetteError(f"{path}: holds no pictures ({', '.join(PICTURES)})")
    return faces


def aligned_crops(faces: Faces, detect: Callable[[Image], Detections], alignment: Alignment, cache: Path) -> np.ndarray:
    """Detects and aligns the best face of each picture, once; pictures without one are left out.

    Args:
        faces: where the pictures come from.
        detect: finds faces in a BGR picture, best first.
        alignment: the crop.
        cache: a .npy file: read if it is there, else written.

    Returns:
        uint8 [n, crop height, crop width, 3], BGR, memory-mapped.

    Raises:
        FacetteError: no face in any picture.
    """
    if not cache.exists():
        width, height = alignment.size_wh
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(".tmp")
        count = 0
        # Raw bytes first: how many faces there will be is known only at the end.
        with temporary.open("wb") as file:
            for index in tqdm(range(len(faces)), desc=f"align {cache.stem}", unit="face", dynamic_ncols=True):
                image = faces.picture(index)
                found = detect(image)
                if len(found):
                    file.write(align(image, found.landmarks_xy[0], alignment).tobytes())
                    count += 1
        if not count:
            temporary.unlink()
            raise FacetteError("no face found in any picture of the data set")
        raw = np.memmap(temporary, np.uint8, "r", shape=(count, height, width, 3))
        with replacing(cache) as half:
            np.save(half, raw)
        temporary.unlink()
    crops: np.ndarray = np.load(cache, mmap_mode="r")
    return crops


def _folder_of(name: str) -> str:
    return name.rsplit("/", 2)[-2] if "/" in name else ""


def _csv_rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if "path" not in (reader.fieldnames or []):
            raise FacetteError(f"{path}: needs the columns path,label; it has {', '.join(reader.fieldnames or ['none'])}")
        return [(row["path"], row.get("label") or "") for row in reader]
