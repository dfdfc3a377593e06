"""Pictures, folders, videos, cameras and streams, all as frames of uint8 BGR."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from facette_runtime.errors import SourceError
from facette_runtime.types import Frame, Image

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mjpeg")

# A broken frame inside a video makes a read fail once or a few times; after so many in a row the video is over.
_MAX_FAILED_READS = 8


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture or frame that could not be read."""

    name: str
    reason: str


class Source(Protocol):
    """Frames in order; iterating again starts again, where the source can.

    Attributes:
        name: what the user called it.
        still: whether it is one picture.
        fps: its frame rate, None where it has none.
        length: how many frames it promises, None where it does not say.
        skipped: what could not be read in the last pass.
        note: a remark on the last pass, e.g. that the video ended early.
    """

    name: str
    still: bool
    fps: float | None
    length: int | None
    skipped: list[Skipped]
    note: str | None

    def __iter__(self) -> Iterator[Frame]: ...


def open_source(text: str) -> Source:
    """Opens what a user names on the command line.

    Args:
        text: a picture, a folder of pictures, a video, a camera's number or ``/dev/videoN``, or an RTSP or HTTP address.

    Raises:
        SourceError: missing, unreadable, or a folder without pictures.
    """
    if "://" in text:
        return VideoSource(text, text, live=True)
    path = Path(text)
    if text.isdigit() and not path.exists():
        return VideoSource(int(text), f"camera {text}", live=True)
    if text.startswith("/dev/video") and text[len("/dev/video") :].isdigit():
        return VideoSource(int(text[len("/dev/video") :]), text, live=True)
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise SourceError(f"{text} does not exist")
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES or (suffix not in VIDEO_SUFFIXES and cv2.haveImageReader(str(path))):
        return PictureSource(path)
    return VideoSource(text, text, live=False)


def read_picture(path: Path) -> Image:
    """Reads one picture as 8-bit BGR; grey becomes colour, 16 bits become 8, alpha is dropped, EXIF rotation is applied.

    Raises:
        SourceError: missing, empty, damaged, or of an unknown format.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    if not len(data):
        raise SourceError(f"{path} is an empty file")
    try:
        image: Image | None = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more pixels than OpenCV is willing to allocate
        image = None
    if image is None or _is_cut_jpeg(data.tobytes()):
        raise SourceError(f"{path} is damaged, or not a picture that OpenCV reads")
    return image


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends before its end-of-image marker; some OpenCV versions then give a half-grey picture as if all were well.

    Walks the segments (ITU-T T.81, annex B) to the first scan, since a thumbnail inside one of them has an end of its own.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda":
        filled = data[place + 1 : place + 2] == b"\xff"  # any number of 0xff may come before a marker
        place += 1 if filled else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data.find(b"\xff\xd9", place) < 0


class PictureSource:
    """One picture, read when the source is opened, so that an unreadable one is an error at once."""

    def __init__(self, path: Path) -> None:
        self.still = True
        self.fps: float | None = None
        self.length: int | None = 1
        self.name = str(path)
        self.skipped: list[Skipped] = []
        self.note: str | None = None
        self._frame = Frame(0, path.name, read_picture(path))

    def __iter__(self) -> Iterator[Frame]:
        yield self._frame


class FolderSource:
    """The pictures of a folder, by name; those that cannot be read are skipped and told."""

    def __init__(self, path: Path) -> None:
        self.still = False
        self.fps: float | None = None
        self.name = str(path)
        self.skipped: list[Skipped] = []
        self.note: str | None = None
        self._paths = list_pictures(path)
        self.length: int | None = len(self._paths)
        if not self._paths:
            raise SourceError(f"{path} holds no pictures ({', '.join(PICTURE_SUFFIXES)})")

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        for index, path in enumerate(self._paths):
            try:
                image = read_picture(path)
            except SourceError as error:
                self.skipped.append(Skipped(path.name, str(error)))
                continue
            yield Frame(index, path.name, image)


def list_pictures(folder: Path) -> list[Path]:
    """The folder's files with a picture's suffix, sorted by name; hidden ones are left out.

    Raises:
        SourceError: the folder cannot be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from None
    return [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()]


class VideoSource:
    """A video file, a camera or a network stream.

    Args:
        address: what OpenCV opens: a path, an address or a camera's number.
        name: what the user called it.
        live: whether it has no end; it is then opened once and cannot start again.
    """

    def __init__(self, address: str | int, name: str, live: bool) -> None:
        self.name = name
        self.still = False
        self.skipped: list[Skipped] = []
        self.note: str | None = None
        self._address = address
        self._live = live
        self._capture: cv2.VideoCapture | None = self._open()
        self.fps: float | None = self._capture.get(cv2.CAP_PROP_FPS) or None
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length: int | None = count if count > 0 and not live else None

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        self.note = None
        capture, self._capture = self._capture or self._open(), None
        index = failed = delivered = 0
        try:
            while failed < _MAX_FAILED_READS and (self.length is None or index < self.length or not failed):
                read, image = capture.read()
                if not read:
                    failed += 1
                    index += 1
                    continue
                for missed in range(index - failed, index):
                    self.skipped.append(Skipped(f"{self.name} frame {missed}", "the frame cannot be decoded"))
                failed = 0
                yield Frame(index, f"{self.name} frame {index}", image)
                index += 1
                delivered += 1
        finally:
            capture.release()
        self._remark(index - failed, delivered)

    def _remark(self, end: int, delivered: int) -> None:
        if not delivered:
            raise SourceError(f"{self.name} gives no frames: it is damaged or empty")
        if self._live:
            self.note = f"{self.name} stopped giving frames after {delivered}"
        elif self.length is not None and end < self.length:
            self.note = f"{self.name} ends early: {end} frames of the {self.length} that its header promises"

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._address)
        if not capture.isOpened():
            capture.release()
            what = (
                "camera or stream cannot be opened" if self._live else "not a picture or video that OpenCV reads, or it is damaged"
            )
            raise SourceError(f"{self.name}: {what}")
        return capture
