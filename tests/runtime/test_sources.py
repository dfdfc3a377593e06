"""Pictures, folders and videos, good ones and bad ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facette_runtime.errors import SourceError
from facette_runtime.sources import open_source, read_picture
from tests.runtime import bundles


def _noise(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _video(path: Path, frames: int = 12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), index * 20, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
def test_reads_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), bundles.picture(bundles.RED))
    source = open_source(str(path))
    frames = list(source)
    assert source.still
    assert source.length == 1
    assert [frame.name for frame in frames] == [path.name]
    np.testing.assert_allclose(frames[0].image_bgr[40, 40], bundles.RED, atol=8)


@pytest.mark.parametrize(
    ("pixels", "expected_bgr"),
    [
        (np.full((5, 6), 200, np.uint8), (200, 200, 200)),
        (np.full((5, 6), 200 * 257, np.uint16), (200, 200, 200)),
        (np.full((5, 6, 3), (10 * 257, 20 * 257, 30 * 257), np.uint16), (10, 20, 30)),
        (np.full((5, 6, 4), (10, 20, 30, 128), np.uint8), (10, 20, 30)),
        (np.full((5, 6, 4), (10 * 257, 20 * 257, 30 * 257, 9), np.uint16), (10, 20, 30)),
        (np.full((1, 1, 3), (10, 20, 30), np.uint8), (10, 20, 30)),
    ],
    ids=["grey", "grey16", "colour16", "alpha", "alpha16", "1x1"],
)
def test_every_odd_picture_becomes_8_bit_bgr(tmp_path: Path, pixels: np.ndarray, expected_bgr: tuple[int, int, int]) -> None:
    path = tmp_path / "odd.png"
    cv2.imwrite(str(path), pixels)
    image = read_picture(path)
    assert image.dtype == np.uint8
    assert image.shape == (*pixels.shape[:2], 3)
    np.testing.assert_array_equal(image[0, 0], expected_bgr)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    content = cv2.imencode(".jpg", np.zeros((8, 32, 3), np.uint8))[1].tobytes()
    # An APP1 segment with one TIFF tag: orientation (0x0112) 6, "turn a quarter clockwise".
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    segment = b"Exif\x00\x00" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + content[2:])
    assert read_picture(path).shape == (32, 8, 3)


def _truncated_jpeg() -> bytes:
    content = cv2.imencode(".jpg", _noise(300, 300))[1].tobytes()
    return content[: len(content) * 9 // 10]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"hello", "is damaged, or not a picture"),
        (_truncated_jpeg(), "is damaged, or not a picture"),
    ],
    ids=["empty", "text", "truncated"],
)
def test_unreadable_picture_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(str(path))


def test_jpeg_is_complete_up_to_its_own_end(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", _noise())[1].tobytes()
    thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole
    path = tmp_path / "a.jpg"
    for content in (whole + b"\xff\xda and a film", whole[:2] + thumbnail + whole[2:]):
        path.write_bytes(content)
        assert read_picture(path).shape == (48, 64, 3)
    path.write_bytes((whole[:2] + thumbnail + whole[2:])[:-300])  # the thumbnail's end is there, the picture's is not
    with pytest.raises(SourceError, match="is damaged"):
        read_picture(path)


@pytest.mark.parametrize("name", ["missing.jpg", "missing", "missing.mp4"])
def test_missing_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(str(tmp_path / name))


def test_folder_is_sorted_and_skips_what_it_cannot_read(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", ".hidden.png"):
        bundles.write_picture(tmp_path / name, bundles.RED)
    (tmp_path / "ab.jpg").write_bytes(_truncated_jpeg())
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    source = open_source(str(tmp_path))
    for _ in range(2):
        assert [(frame.index, frame.name) for frame in source] == [(0, "a.png"), (2, "b.png")]
        assert [item.name for item in source.skipped] == ["ab.jpg"]
    assert source.length == 3
    assert not source.still


def test_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(str(tmp_path))


def test_video_gives_its_frames_each_time(tmp_path: Path) -> None:
    source = open_source(str(_video(tmp_path / "v.avi")))
    assert source.length == 12
    assert source.fps == pytest.approx(10)
    assert not source.still
    for _ in range(2):
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(12))
        assert [round(float(frame.image_bgr.mean()) / 20) for frame in frames] == list(range(12))
        assert source.note is None
        assert not source.skipped


def test_video_that_ends_mid_stream_ends_cleanly_and_says_so(tmp_path: Path) -> None:
    path = _video(tmp_path / "v.avi")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + (content.index(b"idx1") - content.index(b"movi")) // 2])
    source = open_source(str(path))
    frames = list(source)
    assert 0 < len(frames) < 12
    assert source.length is None or "ends early" in (source.note or "") or source.skipped


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 4096], ids=["empty", "text", "zeros"])
def test_unreadable_video_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a picture or video that OpenCV reads"):
        list(open_source(str(path)))


def test_picture_without_a_suffix_is_found_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(bundles.write_picture(tmp_path / "p.png", bundles.RED).read_bytes())
    assert open_source(str(path)).still


@pytest.mark.parametrize("text", ["99", "/dev/video99", "rtsp://127.0.0.1:1/none"])
def test_camera_that_cannot_be_opened_is_an_error(text: str) -> None:
    with pytest.raises(SourceError, match="camera or stream cannot be opened"):
        open_source(text)


class _Capture:
    """A video whose frames 2 and 3 cannot be decoded, and which ends three frames before its header says."""

    def __init__(self, address: object) -> None:
        self._reads = 0

    def isOpened(self) -> bool:
        return True

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: 10.0}[prop]

    def read(self) -> tuple[bool, np.ndarray | None]:
        self._reads += 1
        good = self._reads - 1 in (0, 1, 4, 5, 6)
        return good, np.zeros((4, 4, 3), np.uint8) if good else None

    def release(self) -> None:
        self._reads = 0


def test_broken_frames_inside_a_video_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.mp4"
    path.touch()
    monkeypatch.setattr(cv2, "VideoCapture", _Capture)
    source = open_source(str(path))
    assert [frame.index for frame in source] == [0, 1, 4, 5, 6]
    assert [item.name for item in source.skipped] == [f"{path} frame 2", f"{path} frame 3"]
    assert source.note == f"{path} ends early: 7 frames of the 10 that its header promises"
