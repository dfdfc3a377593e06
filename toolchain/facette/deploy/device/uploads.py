"""Files on their way: each under its digest, ``.part`` until all of it is here and proven."""

import os

from facette.deploy.device.channel import Channel
from facette.deploy.device.layout import BUNDLE, Layout, digest


def offer(root: Layout, sha256: str, size: int) -> int:
    """How many bytes of a file are here already: all of them, those that a broken connection left behind, or none."""
    whole, part = root.uploads / sha256, root.uploads / (sha256 + ".part")
    if not whole.exists():
        for release in root.complete_releases():  # a new runtime for the bundle that is there already
            if root.record(release)["bundle_sha256"] == sha256:
                os.link(str(root.release(release) / BUNDLE), str(whole))
                break
    if whole.exists():
        if digest(whole) == sha256:
            return size
        whole.unlink()
    have = part.stat().st_size if part.exists() else 0
    return have if have < size else 0


def receive(root: Layout, channel: Channel, sha256: str, offset: int) -> bool:
    """Appends the payload after ``offset`` bytes and checks the whole.

    Returns:
        Whether the digest is right; if not, nothing of the file is kept.
    """
    part = root.uploads / (sha256 + ".part")
    with part.open("r+b" if part.exists() else "wb") as file:
        file.truncate(offset)
        file.seek(offset)
        for chunk in channel.payload():
            file.write(chunk)
            file.flush()  # what has arrived needn't come again, whatever happens next
        os.fsync(file.fileno())
    if digest(part) != sha256:
        part.unlink()
        return False
    part.replace(root.uploads / sha256)
    return True
