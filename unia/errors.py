"""The one exception whose message is meant for the user."""


class UserError(Exception):
    """Something the user can mend; the message is one line: what is wrong, where, what to do.

    The command line prints it without a traceback and exits with code 1.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # names of files may hold anything
