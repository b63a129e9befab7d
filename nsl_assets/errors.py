"""Errors that a user can act on. Every message says what was found, what was expected and what to do."""


class NslError(Exception):
    """Base of all errors that are shown to the user as one message, without a traceback."""


class InputError(NslError, ValueError):
    """The user's data, file or option cannot be used as it is. A ValueError, so that pydantic names the field."""


class StudyError(NslError):
    """A study file has a mistake: the message names the field, the value and what is allowed."""


class StorageError(NslError):
    """The storage folder cannot be used: unwritable, full, or holding something unexpected."""


class MeasurementError(NslError):
    """A measurement cannot be made on these data: too few pairs, a loss that became NaN."""
