"""dlib's file against dlib itself."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facette.catalogue import DLIB_IMAGE
from facette.importers.dlib import find_dlib_file, import_dlib, read_dlib
from facette.importers.dlib_format import DlibFile
from facette.nets.dlib_resnet import CHIP_SIZE, DlibResNet
from facette.train.teacher import embed
from facette_runtime.errors import FacetteError


@pytest.fixture(scope="module")
def dat_path() -> Path:
    """dlib's .dat file, if the package that carries it is installed."""
    try:
        return find_dlib_file()
    except FacetteError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def network(dat_path: Path) -> DlibResNet:
    return read_dlib(dat_path)


def test_embeddings_equal_dlibs_on_real_faces(network: DlibResNet, dat_path: Path, data_dir: Path) -> None:
    dlib = pytest.importorskip("dlib", reason="dlib is the oracle: pip install dlib-bin")
    archive = zipfile.ZipFile(data_dir / "utkface-128.zip")
    names = sorted(archive.namelist())[::2000]
    faces = [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR) for name in names]
    chips = np.stack([cv2.resize(face, (CHIP_SIZE, CHIP_SIZE)) for face in faces])
    oracle = dlib.face_recognition_model_v1(str(dat_path))
    wanted = np.array([oracle.compute_face_descriptor(cv2.cvtColor(chip, cv2.COLOR_BGR2RGB)) for chip in chips])
    found = embed(network, torch.from_numpy(chips), DLIB_IMAGE, torch.device("cpu"))
    cosines = (found * wanted).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert len(chips) >= 10
    assert cosines.min() >= 0.99999
    assert np.abs(found - wanted).max() < 1e-5


def test_the_safetensors_hold_the_same_network(network: DlibResNet, dat_path: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    import_dlib(dat_path, tmp_path / "new" / "dlib.safetensors")
    again = DlibResNet()
    again.load_state_dict(load_file(tmp_path / "new" / "dlib.safetensors"))
    x = torch.rand(1, 3, CHIP_SIZE, CHIP_SIZE)
    assert torch.equal(again.eval()(x), network(x))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["dlib.safetensors"]


def test_damaged_or_foreign_files_are_refused(dat_path: Path, tmp_path: Path) -> None:
    data = dat_path.read_bytes()
    for name, content, message in [
        ("short", data[:5000], "truncated"),
        ("long", data + b"x", "1 bytes too many"),
        ("foreign", b"\x89PNG" + data, "not a dlib network file"),
        ("empty", b"", "truncated"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(FacetteError, match=message):
            read_dlib(path)
    with pytest.raises(FacetteError, match="gone"):
        read_dlib(tmp_path / "gone")


@pytest.mark.parametrize(("data", "value"), [(b"\x01\x05", 5), (b"\x81\x05", -5), (b"\x02\x80\x12", 0x1280)])
def test_integers_are_sign_length_and_magnitude(data: bytes, value: int) -> None:
    assert DlibFile(data).integer() == value


def test_floats_are_mantissa_and_exponent() -> None:
    assert DlibFile(b"\x03\x62\x90\xf5\x81\x11").floating() == pytest.approx(122.782, abs=1e-4)
