"""What an error comes to for whoever asked: words and an id, no trace and no path; the rest goes to the log."""

from __future__ import annotations

import logging

from ..errors import ExtraMissingError, HalfmaskError, PhotoError
from .limits import Refused

LOG = logging.getLogger("halfmask.serving")


def told(error: BaseException) -> Refused:
    """The refusal that an error comes to. What is not the asker's doing is logged under the refusal's id."""
    if isinstance(error, Refused):
        if error.status >= 500 and error.__cause__ is not None:
            LOG.error("%s: %s", error.id, error.message, exc_info=error.__cause__)
        return error
    if isinstance(error, PhotoError):  # of bytes without a name, so no path is in it
        return Refused(422, "bad_photo", str(error))
    if isinstance(error, ExtraMissingError):
        return Refused(501, "not_installed", f"the server cannot do this: {error}")
    words = "that did not work, and it is not your doing" if isinstance(error, HalfmaskError) else "something broke"
    refused = Refused(500, "failed", f"{words}. The server's log says more under the error's id")
    LOG.error("%s: %s", refused.id, type(error).__name__, exc_info=error)
    return refused
