"""What a person is told when something under the product cannot start."""

from __future__ import annotations


class CannotStart(Exception):
    """Starting is impossible as things are; the text is one line that names the trouble and the mend."""
