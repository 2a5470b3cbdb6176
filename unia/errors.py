"""The one exception whose message is meant for the user."""

import re

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours, which messages of libraries hold


class UserError(Exception):
    """Something the user can mend; the message is one line: what is wrong, where, what to do.

    The command line prints it without a traceback and exits with code 1.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(ESCAPES.sub("", message).splitlines()))  # names of files may hold anything
