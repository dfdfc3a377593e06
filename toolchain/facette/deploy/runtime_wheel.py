"""The runtime as a wheel, made from the very sources that verified the bundle on this machine.

It is pure Python, so that packing it again needs no build tool and no network, and gives the same bytes every time. That works
for an installed ``facette-runtime`` as well as for a checkout.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

import facette_runtime
from facette_runtime import __version__
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing

_NAME = "facette-runtime"
_PACKAGE = Path(facette_runtime.__file__).parent
_WHEEL = "Wheel-Version: 1.0\nGenerator: facette\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_ENTRY_POINTS = "[console_scripts]\nfacette-run = facette_runtime.cli:main\n"
_EXTRA = re.compile(r"""extra == ["']([\w.-]+)["']""")
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: the bytes mustn't depend on when they were packed


@dataclass(frozen=True, slots=True)
class RuntimePackage:
    """What ``facette-runtime`` says of itself.

    Attributes:
        version: its version.
        requires_python: e.g. ">=3.10".
        requirements: as in a wheel's metadata: those of an extra carry a marker.
    """

    version: str
    requires_python: str
    requirements: tuple[str, ...]

    def requirements_for(self, extras: frozenset[str], python: str, architecture: str) -> list[str]:
        """What pip has to install on a device for these engines.

        Args:
            extras: engines; one that needs nothing has no extra of its name.
            python: the device's, "3.11.2".
            architecture: the device's.
        """
        there = {
            "python_version": ".".join(python.split(".")[:2]),
            "python_full_version": python,
            "platform_machine": architecture,
            "sys_platform": "linux",
            "platform_system": "Linux",
        }
        found = set()
        for text in self.requirements:
            requirement = Requirement(text)
            marker, requirement.marker = requirement.marker, None
            if marker is None or any(marker.evaluate({**there, "extra": extra}) for extra in ("", *extras)):
                found.add(str(requirement))
        return sorted(found)


def runtime_package() -> RuntimePackage:
    """From the checkout that the runtime is imported from or, where it is installed, from its metadata.

    Raises:
        FacetteError: it is neither.
    """
    project = _PACKAGE.parent / "pyproject.toml"
    if project.is_file():
        data = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        requirements = list(data["dependencies"])
        for extra, items in data["optional-dependencies"].items():
            requirements += [_with_extra(item, extra) for item in items]
        return RuntimePackage(__version__, data["requires-python"], tuple(requirements))
    try:
        metadata = importlib.metadata.metadata(_NAME)
    except importlib.metadata.PackageNotFoundError:
        raise FacetteError(f"{_PACKAGE} is neither a checkout nor an installed {_NAME}; pip install {_NAME}") from None
    return RuntimePackage(__version__, metadata["Requires-Python"], tuple(metadata.get_all("Requires-Dist") or ()))


def write_runtime_wheel(folder: Path, package: RuntimePackage) -> Path:
    """Writes the wheel into a folder and gives its path; the same sources give the same bytes."""
    info = f"facette_runtime-{package.version}.dist-info"
    files = {f"facette_runtime/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes() for path in _sources()}
    files[f"{info}/METADATA"] = _metadata(package).encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    files[f"{info}/entry_points.txt"] = _ENTRY_POINTS.encode()
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"facette_runtime-{package.version}-py3-none-any.whl"
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def _sources() -> list[Path]:
    return sorted(path for path in _PACKAGE.rglob("*") if path.suffix == ".py" or path.name == "py.typed")


def _metadata(package: RuntimePackage) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {_NAME}", f"Version: {package.version}"]
    lines += [f"Requires-Python: {package.requires_python}"]
    lines += [f"Provides-Extra: {extra}" for extra in _extras(package)]
    return "\n".join([*lines, *(f"Requires-Dist: {requirement}" for requirement in package.requirements)]) + "\n"


def _extras(package: RuntimePackage) -> list[str]:
    return sorted({extra for text in package.requirements for extra in _EXTRA.findall(text)})


def _with_extra(text: str, extra: str) -> str:
    requirement = Requirement(text)
    marker, requirement.marker = requirement.marker, None
    return f'{requirement}; ({marker}) and extra == "{extra}"' if marker else f'{requirement}; extra == "{extra}"'


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
