"""Writes a bundle: one zip of the manifest and the files it lists, packed. `facette_runtime.bundle` reads it."""

from __future__ import annotations

import hashlib
import json
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from facette_runtime.bundle import MANIFEST_FILE
from facette_runtime.files import replacing
from facette_runtime.manifest import FileDigest, Manifest
from facette_runtime.schema import to_dict
from facette_runtime.signing import SIGNATURE_FILE, sign_manifest

# A zip entry carries a date; a fixed one keeps equal contents equal, byte for byte.
_DATE = (1980, 1, 1, 0, 0, 0)

_LEVEL = 9

_WORTH = 0.95
"""A device unpacks LZMA ten times slower than deflate, so it must be this much smaller."""

_FEW_VALUES = 0.7
"""What deflate leaves of a file whose weights have few distinct values. Of others it leaves more, and LZMA, which takes seconds to
pack them, is worth it on none."""


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes], private_key_pem: bytes | None = None) -> Manifest:
    """Writes a bundle, whole or not at all.

    Args:
        path: of the bundle.
        manifest: its ``files`` are filled in here.
        files: content by path inside the bundle.
        private_key_pem: an Ed25519 key to sign with.

    Returns:
        The manifest as written.
    """
    digests = {name: FileDigest(hashlib.sha256(content).hexdigest(), len(content)) for name, content in files.items()}
    manifest = replace(manifest, files=digests)
    text = json.dumps(to_dict(manifest), indent=1).encode()
    members = {MANIFEST_FILE: text, **files}
    if private_key_pem is not None:
        members[SIGNATURE_FILE] = sign_manifest(text, private_key_pem)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, _packing(content)[0], _LEVEL)
    return manifest


def packed_size(content: bytes) -> int:
    """Bytes that a file takes in a bundle. Weights of few distinct values, or with many zeros, pack well."""
    return _packing(content)[1]


def _packing(content: bytes) -> tuple[int, int]:
    """The zip's method for a file, and about the bytes that it takes then."""
    deflated = len(zlib.compress(content, _LEVEL))
    if deflated < _FEW_VALUES * len(content):
        by_lzma = len(lzma.compress(content, lzma.FORMAT_ALONE))
        if by_lzma < _WORTH * deflated:
            return zipfile.ZIP_LZMA, by_lzma
    return zipfile.ZIP_DEFLATED, deflated
