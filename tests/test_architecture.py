"""The rules that keep the parts apart, read from the imports of the sources."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNTIME = ROOT / "runtime" / "facette_runtime"
TOOLCHAIN = ROOT / "toolchain" / "facette"

# What a module of the runtime may import beside the standard library and the runtime itself.
RUNTIME_LIBRARIES = {"numpy", "cv2"}
RUNTIME_EXTRAS = {
    "engines/onnxruntime.py": {"onnxruntime"},
    "engines/litert.py": {"ai_edge_litert", "tflite_runtime"},
    "engines/openvino.py": {"openvino"},
    "engines/tensorrt.py": {"tensorrt", "cuda"},
    "signing.py": {"cryptography"},
}
ENGINE_MAY_USE = {f"facette_runtime.{name}" for name in ("engines", "errors", "files", "processor", "schema")}


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a source imports, wherever in it; ``from a import b`` counts as ``a.b`` and as ``a``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what a module uses"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            found.update(item.value for item in node.args if isinstance(item, ast.Constant))
    return found


def _names(items: list[Path], folder: Path) -> list[str]:
    return [item.relative_to(folder).as_posix() for item in items]


def _uses(path: Path, module: str) -> set[str]:
    return {name for name in imports(path) if name == module or name.startswith(module + ".")}


def test_the_sources_are_found() -> None:
    assert {"cli.py", "pipeline.py", "engines/base.py"} <= set(_names(_sources(RUNTIME), RUNTIME))
    assert "numpy" in imports(RUNTIME / "match.py")


@pytest.mark.parametrize("name", _names(_sources(RUNTIME), RUNTIME))
def test_runtime_imports_only_what_a_device_has(name: str) -> None:
    top_level = {module.partition(".")[0] for module in imports(RUNTIME / name)}
    foreign = top_level - set(sys.stdlib_module_names) - {"facette_runtime"} - RUNTIME_LIBRARIES - RUNTIME_EXTRAS.get(name, set())
    assert not foreign


@pytest.mark.parametrize("name", _names(_sources(RUNTIME / "engines"), RUNTIME))
def test_engines_know_nothing_of_faces(name: str) -> None:
    own = {module for module in imports(RUNTIME / name) if module.startswith("facette_runtime.")}
    assert all(any(module == allowed or module.startswith(allowed + ".") for allowed in ENGINE_MAY_USE) for module in own), own


@pytest.mark.parametrize("name", ["detect.py", "align.py", "embed.py", "match.py"])
def test_stages_know_no_particular_engine(name: str) -> None:
    used = {module for module in _uses(RUNTIME / name, "facette_runtime.engines") if module != "facette_runtime.engines"}
    assert used <= {
        "facette_runtime.engines.base",
        "facette_runtime.engines.base.Engine",
        "facette_runtime.engines.base.TensorSpec",
    }


def _stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


PASSES = _stems(TOOLCHAIN / "passes")
EXPORT_PARTS = _stems(TOOLCHAIN / "export")
EXPORTERS = {stem for stem in EXPORT_PARTS if f"def export_{stem}(" in (TOOLCHAIN / "export" / f"{stem}.py").read_text()}
"""One an engine; the other modules are parts that they share."""


@pytest.mark.parametrize("name", sorted(PASSES))
def test_passes_know_neither_each_other_nor_the_exporters(name: str) -> None:
    path = TOOLCHAIN / "passes" / f"{name}.py"
    assert not _uses(path, "facette.export")
    assert not {other for other in PASSES if _uses(path, f"facette.passes.{other}")}


def test_every_engine_has_its_exporter() -> None:
    assert {"onnx", "litert", "openvino", "tensorrt"} == EXPORTERS


@pytest.mark.parametrize("name", sorted(EXPORT_PARTS))
def test_exporters_know_neither_each_other_nor_the_passes(name: str) -> None:
    path = TOOLCHAIN / "export" / f"{name}.py"
    assert not _uses(path, "facette.passes")
    assert not {other for other in EXPORTERS if _uses(path, f"facette.export.{other}")}


def test_nothing_unpickles() -> None:
    for path in _sources(RUNTIME) + _sources(TOOLCHAIN):
        assert not {"pickle", "dill", "joblib"} & {module.partition(".")[0] for module in imports(path)}, path
