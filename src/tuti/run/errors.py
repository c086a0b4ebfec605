"""The one exception that is meant for the person at the keyboard."""


class UserError(ValueError):
    """What was found and the rule it breaks, with the remedy on a `hint:` line.

    The command line prints it without a traceback; anything else that escapes is a bug of ours.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what}\nhint: {hint}" if hint else what)
