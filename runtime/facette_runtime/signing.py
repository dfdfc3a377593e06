"""The bundle's signature: Ed25519 (RFC 8032) over the manifest's bytes, which in turn hold the digest of every other file.

Needs the package `cryptography`, which the extra ``[signing]`` brings; it is imported only here and only when asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facette_runtime.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_FILE = "signature.ed25519"

_MISSING = "checking or making a signature needs the package cryptography; to install it: pip install 'facette-runtime[signing]'"


def sign_manifest(manifest_bytes: bytes, private_key_pem: bytes) -> bytes:
    """Signs a manifest on the host.

    Args:
        manifest_bytes: ``manifest.json`` exactly as it goes into the bundle.
        private_key_pem: an unencrypted Ed25519 private key, PKCS #8 in PEM (``openssl genpkey -algorithm ed25519``).

    Returns:
        64 bytes for the bundle's file `SIGNATURE_FILE`.

    Raises:
        BundleError: not such a key, or `cryptography` is not installed.
    """
    return _private_key(private_key_pem).sign(manifest_bytes)


def verify_manifest(manifest_bytes: bytes, signature: bytes, public_key_pem: bytes) -> None:
    """Checks a signature on the device.

    Args:
        manifest_bytes: ``manifest.json`` exactly as it lies in the bundle.
        signature: what `sign_manifest` gave.
        public_key_pem: the Ed25519 public key that the device trusts, in PEM (``openssl pkey -pubout``).

    Raises:
        BundleError: the signature is not this key's, the key is no Ed25519 key, or `cryptography` is not installed.
    """
    key = _public_key(public_key_pem)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, manifest_bytes)
    except InvalidSignature:
        raise BundleError("the bundle's signature was not made with the key that is trusted here") from None


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError:
        raise BundleError(_MISSING) from None
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise BundleError("the signing key is not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError("the signing key is not an Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return key


def _public_key(pem: bytes) -> Ed25519PublicKey:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError:
        raise BundleError(_MISSING) from None
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        raise BundleError("the trusted key is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError("the trusted key is not an Ed25519 key; get it with: openssl pkey -in KEY.pem -pubout")
    return key
