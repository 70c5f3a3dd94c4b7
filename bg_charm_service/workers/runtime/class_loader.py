"""From a charm's source text to its class, and from an exception to the author's traceback.

This is where code of other people starts to run: it is called in workers only.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType, TracebackType
from typing import Final

from bg_charm_service.domain.errors import CompilerError
from bg_charm_service.domain.package_folder import PACKAGE_FOLDER
from bg_charm_service.domain.packages.script_block import has_block
from bg_charm_service.domain.text_limits import FORMATTED_TRACEBACK_CHARACTERS
from bg_charm_service.sdk.charm import Charm, class_schema
from bg_charm_service.sdk.class_schema import DeclarationError

_OUR_FOLDER: Final = f"{PACKAGE_FOLDER}/"
_LINES: Final = "__charm_lines__"


def load_class(source: str, file_name: str, class_name: str | None = None) -> type[Charm]:
    """Run a charm's source and give its class; raises CompilerError naming file and line.

    Without `class_name` the file must define exactly one public subclass of Charm.
    """
    source = source.removeprefix("\ufeff")
    module = ModuleType(_module_name(source, file_name))
    module.__file__ = file_name
    lines = source.splitlines(keepends=True)
    module.__dict__[_LINES] = (len(source), None, lines, file_name)
    linecache.cache[file_name] = module.__dict__[_LINES]
    # Registered while it runs: dataclasses and pydantic look their module up there.
    sys.modules[module.__name__] = module
    try:
        _run(source, file_name, module)
        cls = _find_class(module, file_name, class_name, source)
        _check(cls, file_name, source)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    return cls


def show_source(cls: type[Charm]) -> None:
    """Let tracebacks show the lines of this class's file, until another file takes its name."""
    module = sys.modules.get(cls.__module__)
    entry = None if module is None else module.__dict__.get(_LINES)
    if module is not None and entry is not None:
        linecache.cache[str(module.__file__)] = entry


def author_traceback(error: BaseException, file_name: str) -> str:
    """Format an exception from the first frame of the charm's own file on, without ours."""
    shown = traceback.TracebackException.from_exception(error)
    seen: set[int] = set()
    pending = [shown]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack = traceback.StackSummary.from_list(list(_author_frames(one.stack, file_name)))
        pending += [link for link in (one.__cause__, one.__context__) if link is not None]
        pending += one.exceptions or ()
    text = "".join(shown.format())
    if len(text) > FORMATTED_TRACEBACK_CHARACTERS:
        half = FORMATTED_TRACEBACK_CHARACTERS // 2
        text = (
            f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
        )
    return text.rstrip("\n")


def _author_frames(
    stack: traceback.StackSummary, file_name: str
) -> Iterator[traceback.FrameSummary]:
    is_inside = not any(frame.filename == file_name for frame in stack)
    for frame in stack:
        is_inside = is_inside or frame.filename == file_name
        if is_inside and not frame.filename.startswith(_OUR_FOLDER):
            yield frame


def _module_name(source: str, file_name: str) -> str:
    text = f"{file_name}\0{source}".encode("utf-8", "surrogatepass")
    return f"charm_{hashlib.sha256(text).hexdigest()[:24]}"


def _run(source: str, file_name: str, module: ModuleType) -> None:
    try:
        code = compile(source, file_name, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - what a worker is for
    except SyntaxError as error:
        # It may be one in a module that the charm imports.
        inside = error.filename == file_name
        line = error.lineno if inside else _line_in(error.__traceback__, file_name)
        raise _compiler_error(file_name, line, f"SyntaxError: {error.msg}") from None
    except (Exception, SystemExit) as error:
        line = _line_in(error.__traceback__, file_name)
        hint = missing_module_hint(error, file_name)
        raise _compiler_error(file_name, line, _reason(error) + hint) from error


def missing_module_hint(error: BaseException, file_name: str) -> str:
    """Say what to do about a module that is not there, in the file that was loaded last.

    Empty for other errors, and for a module that a package which is there does not have: that is a
    mistake in the name. An ImportError that came from one that was missing counts as that.
    """
    if not isinstance(error, ImportError) or not any(
        isinstance(link, ModuleNotFoundError) and _is_missing(link.name)
        for link in (error, error.__cause__)
    ):
        return ""
    if has_block("".join(linecache.getlines(file_name))):
        return " (no package that its `# /// script` block names brings it: name the one that does)"
    return " (it is not installed here: name its package in a `# /// script` block, docs/charms.md)"


def _is_missing(module: str | None) -> bool:
    """Whether the package that a module would belong to is not there."""
    if not module:
        return False
    try:
        found = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return True
    # Where packages share a name, as with `google`, one of them may be there and another not.
    return found is None or found.origin is None


def _find_class(
    module: ModuleType, file_name: str, class_name: str | None, source: str
) -> type[Charm]:
    defined = {
        value.__name__: value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Charm)
        and value.__module__ == module.__name__
    }
    if class_name is not None:
        if class_name in defined:
            return defined[class_name]
        there = ", ".join(defined) or "no charm at all"
        raise _compiler_error(file_name, 1, f"no charm class {class_name}; there is {there}")
    public = [cls for name, cls in defined.items() if not name.startswith("_")]
    if not public:
        raise _compiler_error(
            file_name, 1, "no charm here: a charm is a class with Charm as its base"
        )
    if len(public) > 1:
        names = ", ".join(cls.__name__ for cls in public)
        line = _line_of(source, public[1].__name__)
        raise _compiler_error(
            file_name, line, f"several charms ({names}): name one with --class, or begin with _"
        )
    return public[0]


def _check(cls: type[Charm], file_name: str, source: str) -> None:
    try:
        declared = class_schema(cls)
    except DeclarationError as error:
        line = _line_of(source, error.class_name, error.member)
        raise _compiler_error(file_name, line, str(error)) from None
    except (Exception, SystemExit) as error:  # a default_factory is code of the author's
        line = _line_in(error.__traceback__, file_name) or _line_of(source, cls.__name__)
        raise _compiler_error(file_name, line, _reason(error)) from error
    if not declared.streams:
        raise _compiler_error(
            file_name,
            _line_of(source, cls.__name__),
            f"{cls.__name__} has no handler: define `async def bg_updater(self, event)`",
        )


def _compiler_error(file_name: str, line: int | None, reason: str) -> CompilerError:
    return CompilerError(f"{file_name}:{line or 1}: {reason}")


def _line_in(trace: TracebackType | None, file_name: str) -> int | None:
    """Give the line of the charm's file that was being run, the innermost one."""
    lines = [
        number
        for frame, number in traceback.walk_tb(trace)
        if frame.f_code.co_filename == file_name
    ]
    return lines[-1] if lines else None


def _line_of(source: str, class_name: str, member: str | None = None) -> int | None:
    """Give the line where a class, or a member of it, is defined."""
    line = None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            line = node.lineno
            for statement in node.body:
                if member and member in _names_of(statement):
                    line = statement.lineno
    return line


def _names_of(statement: ast.stmt) -> list[str | None]:
    """Give the names that a statement of a class body defines."""
    targets: list[ast.AST] = [statement]
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    return [getattr(one, "name", None) or getattr(one, "id", None) for one in targets]


def _reason(error: BaseException) -> str:
    try:
        text = str(error).partition("\n")[0]
    except Exception:
        text = "(its text cannot be shown)"
    return f"{type(error).__name__}: {text}".removesuffix(": ")
