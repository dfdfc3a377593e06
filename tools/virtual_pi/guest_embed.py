"""Runs inside, or anywhere else where the runtime is: the embedding of the main face of each picture of a folder.

    guest_embed.py BUNDLE FOLDER OUTPUT.npz

The output holds ``names`` and ``embeddings`` float32 [n, d]; a picture without a face has a row of zeros.
"""

from __future__ import annotations

import sys

import numpy as np

from facette_runtime.bundle import Bundle
from facette_runtime.enrol import main_face
from facette_runtime.pipeline import Pipeline
from facette_runtime.sources import open_source


def main() -> None:
    """Does it."""
    bundle, folder, output = sys.argv[1:]
    opened = Bundle.open(bundle, check_target=False)
    pipeline = Pipeline.load(opened, threads=1)
    names, rows = [], []
    for frame in open_source(folder):
        found = pipeline.detect(frame.image_bgr)
        row = np.zeros(opened.manifest.embedder.decoder.size, np.float32)
        if len(found):
            chosen = main_face(found, frame)
            row = pipeline.embed(frame.image_bgr, found.landmarks_xy[chosen : chosen + 1])[0]
        names.append(frame.name)
        rows.append(row)
    np.savez(output, names=np.array(names), embeddings=np.stack(rows))


main()
