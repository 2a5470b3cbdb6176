"""The one exception whose message is meant for the user."""


class UserError(Exception):
    """Something the user can mend; the message is one line: what is wrong, where, what to do.

    The command line prints it without a traceback and exits with code 1.
    """
