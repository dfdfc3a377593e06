"""A signed bundle is trusted only with its maker's key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facette_runtime.bundle import Bundle
from facette_runtime.errors import BundleError
from facette_runtime.schema import to_dict
from facette_runtime.signing import SIGNATURE_FILE, sign_manifest, verify_manifest
from tests.runtime import bundles

pytest.importorskip("cryptography", reason="signatures need the package cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519


def _pair(key=None) -> tuple[bytes, bytes]:
    key = key or ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def _signed(path: Path, private: bytes) -> Path:
    files = bundles.bundle_files()
    content = json.dumps(to_dict(bundles.manifest(files))).encode()
    return bundles.write_zip(path, {"manifest.json": content, SIGNATURE_FILE: sign_manifest(content, private), **files})


def test_trusted_key_opens_and_any_other_does_not(tmp_path: Path) -> None:
    private, public = _pair()
    path = _signed(tmp_path / "b.facette", private)
    assert Bundle.open(path, trust=public).manifest.name == "null"
    assert Bundle.open(path).manifest.name == "null"
    with pytest.raises(BundleError, match="not made with the key that is trusted"):
        Bundle.open(path, trust=_pair()[1])


def test_unsigned_bundle_is_refused_when_trust_is_asked_for(bundle_path: Path) -> None:
    with pytest.raises(BundleError, match="is not signed"):
        Bundle.open(bundle_path, trust=_pair()[1])


def test_altered_manifest_fails() -> None:
    private, public = _pair()
    signature = sign_manifest(b"manifest", private)
    verify_manifest(b"manifest", signature, public)
    with pytest.raises(BundleError):
        verify_manifest(b"manifesto", signature, public)


@pytest.mark.parametrize("pem", [b"", b"hello", _pair()[1], _pair(x25519.X25519PrivateKey.generate())[0]])
def test_not_a_signing_key(pem: bytes) -> None:
    with pytest.raises(BundleError, match="signing key"):
        sign_manifest(b"manifest", pem)


@pytest.mark.parametrize("pem", [b"", b"hello", _pair()[0], _pair(x25519.X25519PrivateKey.generate())[1]])
def test_not_a_trusted_key(pem: bytes) -> None:
    with pytest.raises(BundleError, match="trusted key"):
        verify_manifest(b"manifest", b"", pem)
