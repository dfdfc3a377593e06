"""Writes a bundle: one stored zip of the manifest and the files it lists. `facette_runtime.bundle` reads it."""

from __future__ import annotations

import hashlib
import json
import zipfile
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
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return manifest
