"""What a network's outputs suffer when one layer at a time is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from tqdm import tqdm


def harm_of_each(
    network: nn.Module,
    chunks: Sequence[Tensor],
    names: Iterable[str],
    changed: Callable[[str], AbstractContextManager[None]],
    label: str,
) -> dict[str, float]:
    """Runs the network once as it is and once with each change.

    Args:
        network: in eval mode, on the CPU.
        chunks: inputs, float32 [n, 3, h, w] each.
        names: of the changes.
        changed: makes the change of that name for as long as its context lasts.
        label: of the progress bar.

    Returns:
        The mean cosine distance, 1 − cosine, between the outputs with and without, by name.
    """
    wanted = outputs(network, chunks)
    harm = {}
    for name in tqdm(names, desc=label, unit="layer", dynamic_ncols=True):
        with changed(name):
            found = outputs(network, chunks)
        harm[name] = max(float((1 - torch.cosine_similarity(found, wanted)).mean()), 0.0)
    return harm


@torch.no_grad()
def outputs(network: nn.Module, chunks: Sequence[Tensor]) -> Tensor:
    """[n, numbers]: all outputs of a picture in a row."""
    rows = []
    for chunk in chunks:
        found = network(chunk)
        found = (found,) if isinstance(found, Tensor) else found
        rows.append(torch.cat([output.flatten(1) for output in found], 1))
    return torch.cat(rows)
