"""Where things lie on the device.

::

    facette/
      current   -> releases/ID         what runs
      previous  -> releases/ID         what a rollback goes back to
      releases/ID/                     bundle.facette, lib/ (the runtime), facette-run, release.json
      envs/KEY/                        a virtual environment: numpy, OpenCV and the engine
      uploads/                         files on their way; empty between deployments
      lock                             held while somebody deploys
"""

import hashlib
import json
import os
from pathlib import Path

BUNDLE = "bundle.facette"
RECORD = "release.json"
LAUNCHER = "facette-run"
MADE = "made.json"
"""Written into an environment when all is installed; without it the environment is half made."""


class Layout:
    """A deployment's folder.

    Args:
        folder: absolute, or relative to the home folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path.home() / Path(folder).expanduser()
        self.releases = self.folder / "releases"
        self.envs = self.folder / "envs"
        self.uploads = self.folder / "uploads"

    def release(self, release: str) -> Path:
        """A release's folder."""
        return self.releases / release

    def env(self, key: str) -> Path:
        """An environment's folder."""
        return self.envs / key

    def link(self, name: str) -> "str | None":
        """The release that ``current`` or ``previous`` points to; None where there is none."""
        target = (self.folder / name).resolve()
        return target.name if (target / RECORD).is_file() else None

    def point(self, name: str, release: str) -> None:
        """Points ``current`` or ``previous`` to a release in one step: a reader finds the old one or the new one."""
        temporary = self.folder / f".{name}.new"
        if temporary.is_symlink():
            temporary.unlink()
        temporary.symlink_to(Path("releases") / release)
        temporary.replace(self.folder / name)

    def record(self, release: str) -> "dict[str, object]":
        """What ``release.json`` says."""
        return dict(json.loads((self.release(release) / RECORD).read_text(encoding="utf-8")))

    def complete_releases(self) -> "list[str]":
        """Every release that was staged to its end."""
        return sorted(path.parent.name for path in self.releases.glob("*/" + RECORD) if not path.parent.name.startswith("."))

    def environments(self) -> "list[str]":
        """Keys of the environments that were made to their end."""
        return sorted(path.parent.name for path in self.envs.glob("*/" + MADE))

    def state(self) -> "dict[str, object]":
        """As `facette.deploy.facts.State` names it."""
        return {
            "root": str(self.folder),
            "environments": self.environments(),
            "current": self.link("current"),
            "previous": self.link("previous"),
        }


def digest(path: Path) -> str:
    """sha256 of a file."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            state.update(chunk)
    return state.hexdigest()


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, would survive a power cut."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Writes a small file so that it survives a power cut."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    sync(path)
