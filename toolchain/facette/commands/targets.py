"""``facette targets``: the devices that can be compiled for."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from facette.commands.common import Commands, new_command, write_json

if TYPE_CHECKING:
    from facette.target import Target

_EXAMPLES = """  facette targets
  facette targets raspberry-pi-5
  facette targets my-board.toml --json -"""
_WIDTH = 110


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "targets", "list the devices that can be compiled for, or show one whole", _EXAMPLES, run)
    command.add_argument("name", nargs="?", metavar="NAME", help="a target's name, or the path of a .toml file of your own")
    command.add_argument("--json", metavar="FILE", help="write them as JSON; - for standard output")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.tables import table
    from facette.target import load_target, target_names

    if arguments.name is not None:
        target = load_target(arguments.name)
        if arguments.json:
            write_json(arguments.json, target)
        if arguments.json != "-":
            print(_whole(target))
        return
    targets = [load_target(name) for name in target_names()]
    if arguments.json:
        write_json(arguments.json, targets)
    if arguments.json == "-":
        return
    rows = [[target.name, *_key_facts(target), _engines(target)] for target in targets]
    print(table(["target", "processor", "memory", "GPU", "engines, in order of preference"], rows))
    print("facette targets NAME shows one whole, with its sources")


def _key_facts(target: Target) -> list[str]:
    processor = f"{target.cores}× {target.cpu}" if target.cpu else target.architecture
    return [processor, _memory(target), _sm(target.gpu.sm) if target.gpu else "none"]


def _memory(target: Target) -> str:
    sizes = target.memory_variants_mb or (target.memory_mb,)
    return "/".join(f"{size / 1024:g}" for size in sizes) + " GB"


def _sm(value: int) -> str:
    return f"SM {value // 10}.{value % 10}"


def _engines(target: Target) -> str:
    return ", ".join(f"{engine.name} ({'/'.join(engine.precisions)})" for engine in target.engines)


def _whole(target: Target) -> str:
    facts = {
        "target": target.name,
        "": target.description,
        "processor": f"{target.cores}× {target.cpu or target.architecture}"
        + (f", up to {target.clock_mhz} MHz" if target.clock_mhz else "")
        + (f", {target.soc}" if target.soc else ""),
        "architecture": target.architecture,
        "CPU features": " ".join(target.cpu_features) or "none that must be there",
        "memory": _memory(target),
        "threads": f"{target.threads}, that networks are compiled for",
        "system": target.os,
        "Python": target.python,
        "wheels": " ".join(target.wheel_tags),
    }
    if target.gpu is not None:
        gpu = target.gpu
        versions = f"JetPack {gpu.jetpack} (Jetson Linux {gpu.jetson_linux}), TensorRT {gpu.tensorrt}, CUDA {gpu.cuda}"
        facts["GPU"] = f"{gpu.name}, {_sm(gpu.sm)}"
        facts["GPU software"] = versions
        facts["stand-ins"] = ", ".join(map(_sm, gpu.stand_in_sms)) or "none: its graph can't be built on a workstation"
    facts["engines"] = "; ".join(
        f"{engine.name}: {', '.join(engine.precisions)}, graph forms {', '.join(engine.forms)}" for engine in target.engines
    )
    if target.remark:
        facts["remark"] = target.remark
    lines = [line for name, fact in facts.items() for line in _wrapped(name, fact)]
    lines += [line for index, source in enumerate(target.sources) for line in _wrapped("" if index else "sources", source)]
    return "\n".join(lines)


def _wrapped(name: str, fact: str) -> list[str]:
    indent = 15
    return textwrap.wrap(fact, _WIDTH, initial_indent=f"{name:<{indent}}", subsequent_indent=" " * indent, break_on_hyphens=False)
