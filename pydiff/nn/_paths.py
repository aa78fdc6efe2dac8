"""Where in a model an error came up: the path of the module is put into its message.

A call of a module is a `try` without a cost; only an error that comes out of it is looked at. Each module
on the way out puts itself in front of the path, so the message ends with the path from the outermost one.
"""

import re

_FORM = re.compile(r"\[[\w. ]+\] .*; (got|try) ", re.S)


def tell_path(module, error):
    """Put the path at which `error` left a module below `module` at the end of its message.

    Only errors in pydiff's own form are touched; whatever else a user's `forward` raises stays as it is.
    """
    told = getattr(error, "_model_path", None)
    if told is None:
        text = error.args[0] if len(error.args) == 1 else None
        # What a run found was recorded elsewhere than where it was waited for; it names that line.
        if isinstance(text, str) and _FORM.match(text) and "; recorded at " not in text:
            error._model_path = text, "", id(module)
        return
    text, path, last = told
    if last == id(module):  # it called itself
        return
    # What is not registered below was called all the same, and has no name.
    name = next((name for name, child in module.named_modules() if id(child) == last), "")
    path = f"{name}.{path}" if name and path else name or path
    # Plain values: an error may be pickled.
    error._model_path = text, path, id(module)
    if path:
        error.args = (f"{text} (in model {path})",)
