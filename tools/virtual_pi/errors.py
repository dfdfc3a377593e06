"""What a person can put right."""

from __future__ import annotations


class VirtualPiError(Exception):
    """One line that says what is missing or wrong and, where there is a way, how to mend it."""
