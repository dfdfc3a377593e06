"""The program itself: greets, then does what it is asked until the workstation hangs up."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from facette.deploy.device import environments, releases, running, staging, uploads
from facette.deploy.device.channel import Channel, DeviceError
from facette.deploy.device.layout import Layout
from facette.deploy.device.probe import probe

GREETING = "facette-device ready"
"""Marks where our words begin: a login shell may have printed something before."""


def serve(folder: str) -> None:
    """Answers requests about the deployment in ``folder``: an operation's name, and its arguments by name."""
    root = Layout(folder)
    channel = Channel(sys.stdin.buffer, sys.stdout.buffer)
    operations: dict[str, Callable[..., object]] = {
        "probe": partial(probe, root),
        "state": root.state,
        "lock": partial(releases.lock, root),
        "condition": partial(staging.condition_of, root),
        "offer": partial(uploads.offer, root),
        "receive": partial(uploads.receive, root, channel),
        "environment": partial(environments.make_environment, root, channel),
        "stage": partial(staging.stage, root),
        "run": partial(running.run, root, channel),
        "switch": partial(releases.switch, root),
        "rollback": partial(releases.rollback, root),
        "discard": partial(releases.discard, root),
        "prune": partial(releases.prune, root),
    }
    sys.stdout.write(GREETING + "\n")
    sys.stdout.flush()
    for request in channel.requests():
        arguments: dict[str, Any] = request
        try:
            channel.result(operations[arguments.pop("operation")](**arguments))
        except DeviceError as error:
            channel.error(str(error))
        except OSError as error:
            channel.error(f"{error.filename or root.folder}: {error.strerror or error}")
