"""What int8 is made of: the faces that a network is calibrated with, and its graph forms prepared for rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

from torch import nn

from facette.calibration import Calibration, Quantization, RangeMethod, Repair
from facette.data.calibration_pictures import calibration_pictures
from facette.forms import graph_forms
from facette.model import Model
from facette.passes.correct_bias import correct_bias
from facette.passes.round_adaptively import RoundAdaptively, round_adaptively
from facette.precision_sensitivity import LayerSensitivity, keep_float, measure_sensitivity
from facette_runtime.errors import FacetteError
from facette_runtime.types import Image

SENSITIVITY_FACES = 32
"""That tell which layers suffer most: the time grows with them and with the layers."""


class Quantizer:
    """Prepares one network for int8; pictures are read when they are first needed.

    Args:
        model: as the recipe's passes leave it.
        finder: finds the faces that an embedder is shown; None for a detector.
        faces: a folder, zip or CSV of photos; None where there are none, and the ranges kept with the weights must do.
        count: pictures to show.
        tell: is called with a line before something long.
    """

    def __init__(self, model: Model, finder: Model | None, faces: Path | None, count: int, tell: Callable[[str], None]) -> None:
        self._model = model
        self._finder = finder
        self._faces = faces
        self._count = count
        self._tell = tell
        self._forms = cache(self._make_forms)
        self._sensitivity = cache(self._measure_sensitivity)

    def calibrate(self, form: Model, engine: str, way: Quantization) -> Calibration:
        """Real faces where there are some, else the ranges kept with the weights.

        Raises:
            FacetteError: there are neither.
        """
        if self._faces is not None:
            source = f"{self._count} faces of {self._faces.name}"
            kept_float = keep_float(self._sensitivity(way.method), way.float_share) if way.float_share else frozenset()
            return Calibration(self._pictures, source, way.method, keep_float=kept_float)
        if way.float_share:
            raise FacetteError(f"{way.label}: needs faces to look at: give --faces (a folder, .zip or .csv)")
        statistics = self._model.statistics
        # TensorRT's graph is ONNX Runtime's before it is rounded.
        graph = "onnxruntime" if engine == "tensorrt" else engine
        kept = statistics.ranges.get(f"{graph}/{form.form}") if statistics else None
        if kept is None or statistics is None or way.method != statistics.method:
            raise FacetteError(f"int8 by {way.method}: needs faces to look at: give --faces (a folder, .zip or .csv)")
        return Calibration(None, statistics.source, statistics.method, kept)

    def form(self, name: str, repair: Repair) -> Model:
        """A graph form whose weights are prepared for rounding.

        Raises:
            FacetteError: there are no faces to prepare them with.
        """
        if repair != "none" and self._faces is None:
            raise FacetteError(f"{repair}: needs faces to look at: give --faces (a folder, .zip or .csv)")
        return next(form for form in self._forms(repair) if form.form == name)

    def _make_forms(self, repair: Repair) -> list[Model]:
        if repair == "correct-bias":
            self._tell(f"{self._model.name}: correcting biases")
            return graph_forms(self._model, lambda model: correct_bias(model, self._pictures))
        if repair == "round-adaptively":
            self._tell(f"{self._model.name}: learning how to round")
            return graph_forms(self._model, lambda model: round_adaptively(model, RoundAdaptively(), self._pictures))
        return graph_forms(self._model)

    def _measure_sensitivity(self, method: RangeMethod) -> tuple[LayerSensitivity, ...]:
        """Of the first graph form's layers; lowering renames none of them."""
        if not isinstance(self._model.network, nn.Module):
            raise FacetteError(f"{self._model.name}: layers of an ONNX file can't be kept in float; give the torch module")
        self._tell(f"{self._model.name}: measuring which layers suffer most from int8")
        return measure_sensitivity(self._forms("none")[0], self._pictures[:SENSITIVITY_FACES], method)

    @cached_property
    def _pictures(self) -> Image:
        assert self._faces is not None
        self._tell(f"{self._model.name}: preparing {self._count} faces to calibrate with")
        return calibration_pictures(self._model, self._faces, self._count, self._finder, seed=0)
