"""People and their templates, kept in one ``.npz`` file (never a pickle)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.manifest import EmbedderEntry
from facette_runtime.types import FloatArray

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Gallery:
    """Who is known. Adding someone gives a new gallery.

    Attributes:
        embedder: name of the network that made the templates.
        digest: its weights' digest, `facette_runtime.manifest.NetworkEntry.source_digest`. Templates of another network mean
            nothing here; those of the same weights in another precision or engine do.
        names: the person of each template; a person may have several.
        templates: float32 [m, d], L2-normalised.
    """

    embedder: str
    digest: str
    names: tuple[str, ...]
    templates: FloatArray

    @classmethod
    def empty(cls, entry: EmbedderEntry) -> Gallery:
        """A gallery for one embedder with nobody in it."""
        return cls(entry.name, entry.source_digest, (), np.zeros((0, entry.decoder.size), np.float32))

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Reads a gallery.

        Raises:
            FacetteError: missing, not a gallery, damaged, or of a newer format.
        """
        path = Path(path)
        if path.is_dir():
            raise FacetteError(f"{path} is a directory; a gallery is one .npz file")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return _from_arrays(arrays, path)
        except FileNotFoundError:
            raise FacetteError(f"gallery {path} does not exist; make it with: facette-run enroll") from None
        except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile):
            raise FacetteError(f"{path} is not a gallery, or it is damaged") from None

    def save(self, path: str | Path) -> None:
        """Writes the gallery; a reader sees the old file or the new one, never half of one."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                format=np.int64(FORMAT),
                embedder=np.str_(self.embedder),
                digest=np.str_(self.digest),
                names=np.array(self.names, np.str_),
                templates=self.templates,
            )

    def with_template(self, name: str, template: FloatArray) -> Gallery:
        """This gallery and one more template, float32 [d], L2-normalised."""
        return Gallery(self.embedder, self.digest, (*self.names, name), np.concatenate([self.templates, template[None]]))

    def check_embedder(self, entry: EmbedderEntry) -> None:
        """Raises FacetteError unless ``entry`` made these templates."""
        if self.digest != entry.source_digest:
            raise FacetteError(
                f"the gallery was enrolled with {self.embedder} ({self.digest[:12]}), but this bundle embeds with"
                f" {entry.name} ({entry.source_digest[:12]}): enrol the people again"
            )


def _from_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> Gallery:
    if int(arrays["format"]) > FORMAT:
        raise FacetteError(f"{path}: gallery format {int(arrays['format'])} is newer; this runtime reads {FORMAT}")
    names = tuple(str(name) for name in arrays["names"])
    templates = arrays["templates"]
    if templates.dtype != np.float32 or templates.ndim != 2 or len(templates) != len(names):
        raise FacetteError(f"{path} is damaged: {len(names)} names do not fit templates of shape {templates.shape}")
    return Gallery(str(arrays["embedder"]), str(arrays["digest"]), names, templates)
