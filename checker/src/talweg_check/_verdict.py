"""The three ways in which a check can end early."""


class Invalid(Exception):
    """The file is malformed, does not match its hashes, or states something disproved."""


class Incomplete(Exception):
    """Nothing is wrong, but the bounds of this checker do not confirm the claim."""


class Misuse(Exception):
    """The request itself cannot be carried out (no such file, an unreadable argument)."""
