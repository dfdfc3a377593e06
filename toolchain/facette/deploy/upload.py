"""Files to the device: resumed where a connection broke, checked there, and not sent at all when they are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facette.deploy.session import Session
from facette_runtime.errors import FacetteError


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of a file.

    Attributes:
        sent: bytes that were sent.
        resumed: bytes that a broken deployment had left there.
        repeated: whether what was there or arrived was damaged, so that all of it was sent again.
    """

    sent: int
    resumed: int
    repeated: bool


def upload(session: Session, path: Path, sha256: str) -> Upload:
    """Brings a file to the device, after what is there of it already, and has its digest checked there.

    Raises:
        FacetteError: it arrived damaged twice, or the connection broke.
    """
    size = path.stat().st_size
    offset: int = session.call("offer", sha256=sha256, size=size)
    if offset == size:
        return Upload(0, 0, False)
    if _send_from(session, path, size, offset, sha256):
        return Upload(size - offset, offset, False)
    if _send_from(session, path, size, 0, sha256):
        return Upload(2 * size - offset, 0, True)
    raise FacetteError(
        f"{path.name} arrived damaged on {session.address.text} twice (sha256 is not {sha256[:16]}…); nothing changed"
    )


def _send_from(session: Session, path: Path, size: int, offset: int, sha256: str) -> bool:
    told = -1

    def progress(done: int) -> None:
        nonlocal told
        quarter = 4 * (offset + done) // size
        if quarter != told:
            told = quarter
            session.tell(f"copying {path.name}: {25 * quarter} % of {size / 1e6:.1f} MB")

    with path.open("rb") as file:
        file.seek(offset)
        return bool(session.send(file, size - offset, progress, "receive", sha256=sha256, offset=offset))
