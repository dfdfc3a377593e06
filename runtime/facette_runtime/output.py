"""Marked pictures and JSON lines, each file put in its place only when it is complete.

Every function here gives a context that yields a `Write`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import cv2

from facette_runtime.draw import draw_faces
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.identify import to_json
from facette_runtime.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Source
from facette_runtime.types import Face, Frame, Image

Write = Callable[[Frame, Sequence[Face]], None]
"""Takes a frame and its faces."""

_DEFAULT_FPS = 25.0


def open_output(path: Path | None, source: Source) -> AbstractContextManager[Write]:
    """Where marked pictures go, by the path's suffix: a picture's, a video's, or none for a folder of pictures.

    Args:
        path: what the user asked for; None for nothing.
        source: where the frames come from.

    Raises:
        FacetteError: an unknown suffix, or one picture asked for from many frames.
    """
    if path is None:
        return _nowhere()
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix:
        return _folder(path)
    if suffix in VIDEO_SUFFIXES:
        return _video(path, source.fps or _DEFAULT_FPS)
    if suffix not in PICTURE_SUFFIXES:
        raise FacetteError(
            f"--output {path}: unknown suffix {suffix}; use {', '.join(PICTURE_SUFFIXES + VIDEO_SUFFIXES)}, or a folder"
        )
    if not source.still:
        raise FacetteError(f"--output {path} is one picture, but {source.name} has many frames; name a video or a folder")
    return _picture(path)


def open_records(target: str | None) -> AbstractContextManager[Write]:
    """Where JSON lines go: a file by name, standard output for "-", nowhere for None."""
    if target is None:
        return _nowhere()
    return _standard_output() if target == "-" else _json_file(Path(target))


@contextmanager
def _nowhere() -> Iterator[Write]:
    yield lambda frame, faces: None


@contextmanager
def _standard_output() -> Iterator[Write]:
    yield lambda frame, faces: print(to_json(frame, faces), flush=True)


@contextmanager
def _json_file(path: Path) -> Iterator[Write]:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield lambda frame, faces: print(to_json(frame, faces), file=file)


@contextmanager
def _picture(path: Path) -> Iterator[Write]:
    yield lambda frame, faces: _write_picture(path, draw_faces(frame.image_bgr, faces))


@contextmanager
def _folder(path: Path) -> Iterator[Write]:
    def write(frame: Frame, faces: Sequence[Face]) -> None:
        is_file = Path(frame.name).suffix.lower() in PICTURE_SUFFIXES
        name = Path(frame.name).name if is_file else f"{frame.index:06d}.jpg"
        _write_picture(path / name, draw_faces(frame.image_bgr, faces))

    yield write


def _write_picture(path: Path, image: Image) -> None:
    with replacing(path) as temporary:
        try:
            written = cv2.imwrite(str(temporary), image)
        except cv2.error:  # a suffix that OpenCV reads, and does not write
            written = False
        if not written:
            raise FacetteError(f"{path} cannot be written: the folder is not writable, or OpenCV does not write {path.suffix}")


@contextmanager
def _video(path: Path, fps: float) -> Iterator[Write]:
    writer: cv2.VideoWriter | None = None
    first: Image | None = None

    def write(frame: Frame, faces: Sequence[Face]) -> None:
        nonlocal writer, first
        if writer is None or first is None:
            first = frame.image_bgr
            writer = _open_writer(temporary, path, fps, first)
        if frame.image_bgr.shape != first.shape:
            raise FacetteError(f"--output {path}: {frame.name} has another size than the first frame; name a folder instead")
        writer.write(draw_faces(frame.image_bgr, faces))

    with replacing(path) as temporary:
        try:
            yield write
        finally:
            if writer is not None:
                writer.release()


def _open_writer(temporary: Path, path: Path, fps: float, image: Image) -> cv2.VideoWriter:
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix.lower() == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(temporary), code, fps, (image.shape[1], image.shape[0]))
    if not writer.isOpened():
        raise FacetteError(f"--output {path}: this OpenCV cannot write {path.suffix} videos here; try .mp4 or .avi")
    return writer


def announce(line: str, records_target: str | None) -> None:
    """Prints a line for people, on the error stream when standard output carries JSON."""
    print(line, file=sys.stderr if records_target == "-" else sys.stdout, flush=True)
