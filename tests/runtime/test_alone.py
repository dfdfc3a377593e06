"""The runtime works where the toolchain and its libraries cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import facette_runtime

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
for name in {blocked!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{{name}} can be imported: the test proves nothing")
from facette_runtime.cli import main
bundle, source = sys.argv[1:]
status = main(["selftest", "--bundle", bundle]) or main(["bench", "--bundle", bundle, "--source", source, "--frames", "3"])
loaded = sorted({blocked!r} & {{name.partition(".")[0] for name in sys.modules}})
raise SystemExit(status or f"loaded: {{loaded}}" if loaded else status)
"""

BLOCKED = {
    "torch",
    "facette",
    "onnx",
    "onnxruntime",
    "litert_torch",
    "ai_edge_litert",
    "tflite_runtime",
    "matplotlib",
    "scipy",
    "PIL",
}


def test_works_without_the_toolchain(bundle_path: Path, people: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=BLOCKED), str(bundle_path), str(people / "Red")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(facette_runtime.__file__).parent.parent,
    )
    assert run.returncode == 0, run.stderr
    assert "selftest passed" in run.stdout
    assert "FPS" in run.stdout


def test_help_imports_nothing_heavy() -> None:
    program = "import sys, facette_runtime.cli; print({'numpy', 'cv2', 'onnxruntime', 'cryptography'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(facette_runtime.__file__).parent.parent,
    )
    assert run.stdout == "set()\n", run.stderr
