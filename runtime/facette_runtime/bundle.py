"""Reads a bundle: one zip with ``manifest.json`` and the files that the manifest lists by size and digest.

Everything is checked before anything is loaded, in an order that gives the most helpful line first: the file, the zip,
the manifest, its version, the signature where one is asked for, every file's size and digest, and whether this machine
is the target. No file is unpacked before its size is known to be what the manifest says.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from facette_runtime.errors import BundleError, SchemaError
from facette_runtime.manifest import MAJOR, MINOR, FileDigest, Manifest
from facette_runtime.schema import from_dict
from facette_runtime.signing import SIGNATURE_FILE, verify_manifest
from facette_runtime.target import check_target as check_this_machine

try:
    import lzma
except ImportError:  # Python can be built without it
    lzma = None  # type: ignore[assignment]

MANIFEST_FILE = "manifest.json"

# What zipfile raises, one way or another, on bytes that are not what its headers promise.
_DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    *(() if lzma is None else (lzma.LZMAError,)),
)

_PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)


class Bundle:
    """A checked bundle.

    Attributes:
        path: the file.
        manifest: its contract.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest, networks: dict[str, bytes]) -> None:
        self.path = path
        self.manifest = manifest
        self._archive = archive
        self._unread = networks

    @classmethod
    def open(cls, path: str | Path, check_target: bool = True, trust: bytes | None = None) -> Bundle:
        """Opens and checks a bundle.

        Args:
            path: the bundle's file.
            check_target: refuse a bundle made for another machine; a host's tools pass False.
            trust: an Ed25519 public key in PEM; the bundle must then carry its signature.

        Raises:
            BundleError: the first check that failed, in one line.
        """
        path = Path(path)
        archive = _open_archive(path)
        try:
            members = _members(path, archive)
            manifest_bytes = _read_manifest_bytes(path, archive, members)
            manifest = parse_manifest(manifest_bytes, str(path))
            if trust is not None:
                _check_signature(path, archive, members, manifest_bytes, trust)
            networks = _check_files(path, archive, members, manifest)
            if check_target:
                check_this_machine(manifest.target, str(path))
        except BaseException:
            archive.close()
            raise
        return cls(path, archive, manifest, networks)

    def read(self, name: str) -> bytes:
        """The bytes of one file of the bundle.

        Raises:
            BundleError: the bundle has no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}: no file {name!r}; files: {', '.join(self.manifest.files)}")
        kept = self._unread.pop(name, None)  # so that a network's bytes are in memory no longer than its engine takes to load
        return _read_member(self.path, self._archive, name) if kept is None else kept


def parse_manifest(manifest_bytes: bytes, where: str) -> Manifest:
    """Reads a manifest of this major version; of a newer minor one, what this version knows.

    Raises:
        BundleError: not JSON, of a newer major version, or not what the schema asks for.
    """
    try:
        data = json.loads(manifest_bytes)
    except ValueError as error:
        raise BundleError(f"{where}: {MANIFEST_FILE} is not JSON: {error}") from None
    major, minor = _format(data, where)
    if major != MAJOR:
        age = "newer" if major > MAJOR else "older"
        mend = "update facette-runtime" if major > MAJOR else "compile it again"
        raise BundleError(f"{where}: bundle format {major}.{minor} is {age}; this runtime reads {MAJOR}.x: {mend}")
    try:
        return from_dict(Manifest, data, MANIFEST_FILE, ignore_unknown=minor > MINOR)
    except SchemaError as error:
        raise BundleError(f"{where}: {error}") from None


def _format(data: Any, where: str) -> tuple[int, int]:
    version = data.get("format") if isinstance(data, dict) else None
    if not isinstance(version, list) or [type(part) for part in version] != [int, int]:
        raise BundleError(f"{where}: {MANIFEST_FILE} does not say its format as [major, minor]: not a Facette bundle")
    return version[0], version[1]


def _open_archive(path: Path) -> zipfile.ZipFile:
    if path.is_dir():
        raise BundleError(f"{path} is a directory; a bundle is one file")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise BundleError(f"{path} does not exist") from None
    except PermissionError:
        raise BundleError(f"{path} cannot be read: permission denied") from None
    except _DAMAGE:
        if start == b"PK\x03\x04":
            raise BundleError(f"{path} is cut short or damaged: its table of contents is missing or unreadable") from None
        raise BundleError(f"{path} is not a bundle: it is not a zip file") from None


def _members(path: Path, archive: zipfile.ZipFile) -> frozenset[str]:
    names = [info.filename for info in archive.infolist()]
    for info in archive.infolist():
        if info.compress_type not in _PACKING:
            raise BundleError(f"{path}: {info.filename} is packed by another method than a bundle's files: stored, deflate or LZMA")
        if info.compress_type == zipfile.ZIP_LZMA and lzma is None:
            raise BundleError(f"{path}: {info.filename} needs Python's lzma module, which this Python was built without")
    if len(set(names)) != len(names):
        raise BundleError(f"{path}: two files have the same name")
    return frozenset(names)


def _read_manifest_bytes(path: Path, archive: zipfile.ZipFile, members: frozenset[str]) -> bytes:
    if MANIFEST_FILE not in members:
        raise BundleError(f"{path} has no {MANIFEST_FILE}: not a Facette bundle")
    return _read_member(path, archive, MANIFEST_FILE)


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except _DAMAGE:
        raise BundleError(f"{path}: {name} is damaged: it cannot be read back from the zip") from None


def _check_files(path: Path, archive: zipfile.ZipFile, members: frozenset[str], manifest: Manifest) -> dict[str, bytes]:
    """The networks' bytes, which every caller reads next and which take longest to unpack."""
    missing = sorted(set(manifest.files) - members)
    if missing:
        raise BundleError(f"{path}: {missing[0]} is missing")
    extra = sorted(members - set(manifest.files) - {MANIFEST_FILE, SIGNATURE_FILE})
    if extra:
        raise BundleError(f"{path}: {extra[0]!r} is not listed in the manifest")
    networks = (manifest.detector.file, manifest.embedder.file)
    kept = {}
    for name, expected in manifest.files.items():
        size = archive.getinfo(name).file_size
        content = _read_member(path, archive, name) if size == expected.bytes else b""
        if _digest(content) != expected:
            raise BundleError(f"{path}: {name} is altered: its size or sha256 differs from the manifest's")
        if name in networks:
            kept[name] = content
    for file in networks:
        if file not in manifest.files:
            raise BundleError(f"{path}: the network {file} is missing")
    return kept


def _digest(data: bytes) -> FileDigest:
    return FileDigest(hashlib.sha256(data).hexdigest(), len(data))


def _check_signature(path: Path, archive: zipfile.ZipFile, members: frozenset[str], manifest_bytes: bytes, trust: bytes) -> None:
    if SIGNATURE_FILE not in members:
        raise BundleError(f"{path} is not signed, and only signed bundles are trusted here")
    try:
        verify_manifest(manifest_bytes, _read_member(path, archive, SIGNATURE_FILE), trust)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None
