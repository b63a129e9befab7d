"""Finding and importing the class that a `class_path` names. It runs the user's code, by their wish."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_assets.errors import InputError

if TYPE_CHECKING:
    from types import ModuleType

METHODS: Final = ("fit", "initialise", "embed", "save", "load")


def load_class(class_path: str) -> type:
    """The class of "package.module:ClassName" or "file.py:ClassName". Raises InputError."""
    module_path, _, name = class_path.rpartition(":")
    module = _load_file(Path(module_path)) if module_path.endswith(".py") else _import(module_path)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__]
        raise InputError(
            f"{module_path} has no class {name!r}. Its classes: {', '.join(classes) or 'none'}. Correct class_path."
        )
    _check_methods(found, class_path)
    return found


def _check_methods(found: type, class_path: str) -> None:
    missing = [name for name in METHODS if not callable(getattr(found, name, None))]
    if missing:
        raise InputError(
            f"{class_path} has no method {', '.join(missing)}. A model needs {', '.join(METHODS)}, as in "
            "examples/own_model.py."
        )


def source_file(class_path: str) -> Path:
    """The Python file of the class, without running it. Raises InputError where there is none."""
    module_path = class_path.rpartition(":")[0]
    if module_path.endswith(".py"):
        return _existing(Path(module_path))
    try:
        spec = importlib.util.find_spec(module_path)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise _not_importable(module_path, "no such module, or one without a source file")
    return Path(spec.origin)


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {path} (looked for in {Path.cwd()}). Correct class_path.")
    return path


def _import(module_path: str) -> ModuleType:
    try:
        return importlib.import_module(module_path)
    except ImportError as error:
        raise _not_importable(module_path, str(error)) from error


def _load_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own; the name follows from its place and content."""
    path = _existing(path).resolve()
    digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]
    name = f"nsl_custom_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _not_importable(str(path), "it is not a Python source file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _not_importable(module_path: str, reason: str) -> InputError:
    return InputError(
        f"The module {module_path} of class_path cannot be imported: {reason}. Install it into this Python "
        f"({sys.executable}), or give the path of its file: path/to/my_model.py:ClassName."
    )
