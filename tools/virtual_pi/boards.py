"""What the emulated boards say of themselves.

The userland has no /proc and no /sys of a kernel: the host's would show its own processor, and ONNX Runtime's probe crashes
on that under qemu 7.2. In their place stand files with what the board's kernel says, as owners have published it, so that
engines choose the kernels that they would choose there, and `facette-run doctor` sees a Pi. Figures that live (temperature, free
memory, processes) are missing, and the runtime says that it does not know them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.virtual_pi.errors import VirtualPiError


@dataclass(frozen=True, slots=True)
class Board:
    """One board.

    Attributes:
        target: the name of its file in targets/.
        model, compatible: as the device tree says.
        qemu_cpu: qemu's name of the processor; instructions that the board lacks are illegal there, too.
        features: of /proc/cpuinfo.
        variant, part, revision: Arm's numbers of the processor in /proc/cpuinfo.
        cores, memory_mb: of the model that is played.
    """

    target: str
    model: str
    compatible: tuple[str, ...]
    qemu_cpu: str
    features: str
    variant: str
    part: str
    revision: int
    cores: int
    memory_mb: int


BOARDS = {
    board.target: board
    for board in (
        Board(
            target="raspberry-pi-5",
            model="Raspberry Pi 5 Model B Rev 1.0",
            compatible=("raspberrypi,5-model-b", "brcm,bcm2712"),
            qemu_cpu="cortex-a76",
            features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
            variant="0x4",
            part="0xd0b",
            revision=1,
            cores=4,
            memory_mb=8192,
        ),
        Board(
            target="raspberry-pi-4",
            model="Raspberry Pi 4 Model B Rev 1.5",
            compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
            qemu_cpu="cortex-a72",
            features="fp asimd evtstrm crc32 cpuid",
            variant="0x0",
            part="0xd08",
            revision=3,
            cores=4,
            memory_mb=4096,
        ),
    )
}


def find_board(name: str) -> Board:
    """A board by its target's name.

    Raises:
        VirtualPiError: unknown; the message lists the known ones.
    """
    if name not in BOARDS:
        raise VirtualPiError(f"unknown board {name!r}; known boards: {', '.join(BOARDS)}")
    return BOARDS[name]


def write_board_files(root: Path, board: Board) -> None:
    """Puts what the board's kernel would say into ``root``/proc and ``root``/sys."""
    last = board.cores - 1
    files = {
        "proc/cpuinfo": "\n".join(_core(board, index) for index in range(board.cores)) + f"\nModel\t\t: {board.model}\n",
        "proc/meminfo": f"MemTotal:       {board.memory_mb * 1024} kB\n",
        "proc/device-tree/model": board.model + "\0",
        "proc/device-tree/compatible": "".join(name + "\0" for name in board.compatible),
        **{f"sys/devices/system/cpu/{name}": f"0-{last}\n" for name in ("present", "possible", "online")},
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _core(board: Board, index: int) -> str:
    lines = {
        "processor\t": index,
        "BogoMIPS\t": "108.00",
        "Features\t": board.features,
        "CPU implementer\t": "0x41",
        "CPU architecture": 8,
        "CPU variant\t": board.variant,
        "CPU part\t": board.part,
        "CPU revision\t": board.revision,
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())
