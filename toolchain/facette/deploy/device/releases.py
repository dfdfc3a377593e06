"""Which release runs: switched to in one step, kept for going back, and cleared away. One deployment at a time."""

import fcntl
import shutil
import time
from typing import IO

from facette.deploy.device.channel import DeviceError
from facette.deploy.device.layout import Layout, sync

_LOCKS: "list[IO[str]]" = []
"""Open for as long as the program runs: the kernel frees the lock with it, however it ends."""


def lock(root: Layout, who: str, wait_s: float) -> None:
    """Makes the deployment's folders and keeps everybody else out of them until this program ends.

    Args:
        root: the deployment.
        who: is told to others meanwhile.
        wait_s: how long to wait for the program of a deployment that was just cut off to notice.

    Raises:
        DeviceError: somebody else is at it.
    """
    for folder in (root.releases, root.envs, root.uploads):
        folder.mkdir(parents=True, exist_ok=True)
    file = (root.folder / "lock").open("a+", encoding="utf-8")
    end = time.monotonic() + wait_s
    while not _locked(file):
        if time.monotonic() > end:
            file.seek(0)
            raise DeviceError(f"{root.folder} is locked: {file.read().strip() or 'somebody is deploying'}")
        time.sleep(0.1)
    file.truncate(0)
    file.write(f"{who} has been deploying since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n")
    file.flush()
    _LOCKS.append(file)


def _locked(file: "IO[str]") -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def switch(root: Layout, release: str) -> None:
    """Makes a release the current one and remembers the one before."""
    before = root.link("current")
    if before is not None and before != release:
        root.point("previous", before)
    root.point("current", release)
    sync(root.folder)


def rollback(root: Layout) -> "dict[str, object]":
    """Exchanges ``current`` and ``previous``.

    Returns:
        What ``release.json`` says of the release that is current now, and its name as ``release``.

    Raises:
        DeviceError: there is nothing to go back to.
    """
    current, previous = root.link("current"), root.link("previous")
    if previous is None or previous == current:
        raise DeviceError(f"{root.folder} has no previous release to go back to")
    switch(root, previous)
    return dict(root.record(previous), release=previous)


def discard(root: Layout, release: str) -> None:
    """Removes a release that failed."""
    shutil.rmtree(str(root.release(release)))


def prune(root: Layout, keep: int, staged: str) -> "list[str]":
    """Removes what nothing needs any more: old releases, their environments, and whatever was left half done.

    Args:
        root: the deployment.
        keep: how many releases stay, the newest; the current and the previous one always do.
        staged: stays too.

    Returns:
        The releases removed.
    """
    newest = sorted(root.complete_releases(), key=lambda name: float(str(root.record(name)["staged"])), reverse=True)
    kept = {staged, root.link("current"), root.link("previous")} - {None}
    kept.update([name for name in newest if name not in kept][: max(0, keep - len(kept))])
    for folder in root.releases.iterdir():
        if folder.name not in kept:
            shutil.rmtree(str(folder))
    used = {root.record(str(name))["environment"] for name in kept}
    for folder in root.envs.iterdir():
        if folder.name not in used:
            shutil.rmtree(str(folder))
    shutil.rmtree(str(root.uploads))
    root.uploads.mkdir()
    return [name for name in newest if name not in kept]
