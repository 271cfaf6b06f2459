"""The exceptions that tools turn into a message."""

from collections.abc import Sequence

# As OpenCV, torch, onnxruntime, C++ and Python's threads say it.
_TOO_LITTLE_MEMORY = (
    *("insufficient memory", "not enough memory", "out of memory", "failed to allocate memory"),
    *("bad allocation", "bad_alloc", "cannot allocate memory", "can't start new thread"),
)


class DataError(ValueError):
    """Something about a user's files or settings that the user can mend.

    Each argument is one fault, in one line: `<path>: <fact>, expected <expectation>. <next step>`.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class ModelError(DataError):
    """Something about a model itself, whatever the image: a run over many need not go on."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory; every library has a way of its own to say so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return any(words in text for words in _TOO_LITTLE_MEMORY)


class Stopped(KeyboardInterrupt):
    """The user, or who runs the machine, has stopped a tool by a signal.

    Args:
        number: of the signal.
        message: what became of the work, and how to go on.
    """

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Join the first names for a message: `a, b, c, d, e and 7 more`."""
    shown = ", ".join(str(name) for name in names[:most])
    rest = len(names) - most
    return f"{shown} and {rest} more" if rest > 0 else shown
