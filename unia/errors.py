"""The one exception whose message is meant for the user."""

import re

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours, which messages of libraries hold
PASSWORD = re.compile(r"(\b[a-z][\w+.-]*://[^\s/@:]*):[^\s/]*@", re.IGNORECASE)


class UserError(Exception):
    """Something the user can mend; the message is one line: what is wrong, where, what to do.

    The command line prints it without a traceback and exits with code 1.
    """

    def __init__(self, message: str):
        # names of files may hold anything
        super().__init__(without_passwords(" ".join(ESCAPES.sub("", message).splitlines())))


def without_passwords(text: str) -> str:
    """`text` with *** in the place of the password of each address (scheme://user:password@host)."""
    return PASSWORD.sub(r"\1:***@", text)
