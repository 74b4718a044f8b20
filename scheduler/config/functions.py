"""The checks of the user's functions, by their source alone: nothing of theirs is imported."""

from __future__ import annotations

import ast
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from scheduler.config.convert import shown
from scheduler.config.document import Document
from scheduler.config.errors import nearest

Place = tuple[Any, ...]
Function = ast.FunctionDef | ast.AsyncFunctionDef

MODEL = ("input_shape", "classes", "hyperparameters")
DATA = ("hyperparameters",)
COMBINE = ("probabilities", "validation_probabilities", "validation_labels")
"""The parameters that a model function, a data function and an ensemble's method are called with, in this order."""
_RETURNED = {
    MODEL: "the compiled model",
    DATA: "a dict with x_train and y_train",
    COMBINE: "probabilities (items, classes), or a weight for each member",
}
"""What each of them returns."""

_ENDING = ("exit", "_exit", "quit", "abort")
"""Functions that end the process, by their last name."""
_RUNTIME = (
    "absl", "cntk", "gast", "google", "grpc", "h5py", "jax", "jaxlib", "joblib", "keras", "keras_applications",
    "keras_preprocessing", "ml_dtypes", "narwhals", "numpy", "opt_einsum", "optree", "packaging", "pip", "polars",
    "requests", "rich", "scipy", "setuptools", "six", "sklearn", "tensorflow", "theano", "threadpoolctl", "torch",
    "typing_extensions", "tzdata", "urllib3", "wrapt", "yaml",
)  # fmt: skip
"""What the runtimes of ours have installed; a step looks itself for what else is there."""
_PYTHON_2 = (
    "BaseHTTPServer", "ConfigParser", "Cookie", "HTMLParser", "Queue", "SocketServer", "StringIO", "Tkinter", "UserDict",
    "UserList", "UserString", "cPickle", "cStringIO", "commands", "compiler", "cookielib", "copy_reg", "dircache",
    "exceptions", "hotshot", "htmllib", "httplib", "imputil", "md5", "mimetools", "multifile", "mutex", "new", "popen2",
    "repr", "rfc822", "robotparser", "sets", "sgmllib", "sha", "statvfs", "strop", "thread", "urllib2", "urlparse",
    "user", "xmllib", "xmlrpclib",
)  # fmt: skip
"""Modules that Python 2.7 alone has."""


def misplaced(text: str, folder: Path) -> str:
    """Why a path cannot be used; empty if it can. What it names must be found where only the folder has been copied to."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        return f"{text[:200]} is given: type a path within the configuration's folder, relative to it and without .."
    if problem := impossible(folder / text):
        return problem
    if not (folder / text).resolve().is_relative_to(folder):
        return f"{text} leads outside the configuration's folder: put a copy inside"
    return ""


def impossible(path: Path) -> str:
    """Why there can be no file or folder of that path; empty if there can."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return f"{shown(str(path))} cannot be a file or folder: {error.strerror}"
    return ""


class FunctionChecker:
    """Checks references to functions in files of the configuration's folder, and keeps what it has parsed."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._parsed: dict[str, ast.Module | str] = {}
        self._import_problems: dict[tuple[Path, str], list[str]] = {}

    def check(
        self, where: Place, reference: str, parameters: Sequence[str], built_in: Sequence[str], runtime: str
    ) -> Function | None:
        """Add every problem of a reference to the document; the function, if its file defines it.

        ``parameters``: with what it is called; ``runtime``: where it is called; ``built_in``: what may be typed instead.
        """
        source, _, name = reference.rpartition(":")
        if not source.endswith(".py") or not name:
            self._refuse(where, f"{shown(reference)} is given: type {', '.join(built_in)} or file.py:function")
            return None
        if problem := misplaced(source, self._folder):
            self._refuse(where, problem)
            return None
        path = self._folder / source
        if not path.is_file():
            others = sorted(other.name for other in path.parent.glob("*.py")) if path.parent.is_dir() else []
            hint = nearest(path.name, others) if others else f"there is no .py file in {path.parent}"
            self._refuse(where, f"{source} does not exist: {hint}")
            return None
        if (path, runtime) not in self._import_problems:
            self._import_problems[path, runtime] = list(self._imports(path, runtime))
        for problem in self._import_problems[path, runtime]:
            self._refuse(where, problem)
        tree = self._tree(path, runtime)
        if isinstance(tree, str):
            if tree:
                self._refuse(where, tree)
            return None
        function = self._function(where, tree, source, name)
        if function is not None:
            for problem in (*_signature(function, parameters), *_results(function, parameters)):
                self._refuse(where, f"{source}:{function.lineno} {name}: {problem}")
        return function

    def _refuse(self, where: Place, message: str) -> None:
        self._document.problem(where, message)

    def _tree(self, path: Path, runtime: str) -> ast.Module | str:
        """The parsed file, or why there is none; an empty text where only its own Python could say."""
        name = path.relative_to(self._folder).as_posix()
        if name not in self._parsed:
            try:
                self._parsed[name] = ast.parse(path.read_bytes(), str(path))
            except OSError as error:
                self._parsed[name] = f"{name} cannot be read: {error.strerror}"
            except SyntaxError as error:
                self._parsed[name] = f"{name}:{error.lineno or 1} is not Python: {error.msg}"
            except (ValueError, RecursionError) as error:
                self._parsed[name] = f"{name} is not Python: {error}"
        tree = self._parsed[name]
        if runtime != "legacy":
            return tree
        if isinstance(tree, str):
            return ""  # it may be Python 2.7
        return next((f"{name}:{line} has {what}, which Python 2.7 does not know" for line, what in _newer_syntax(tree)), tree)

    def _imports(self, path: Path, runtime: str) -> Iterator[str]:
        """The problems of imports that would find other modules, and of the user's files that a function's file imports."""
        # Late: it loads OpenSSL, and most configurations have no function.
        from jobs.portable.user_code import hidden_imports, own_files, packageless_imports

        folders = list(dict.fromkeys([str(path.parent), str(self._folder)]))
        names = {*sys.stdlib_module_names, *(_PYTHON_2 if runtime == "legacy" else ())}

        def owner(name: str) -> str:
            if name == "jobs":
                return "a module of the program that runs the step"
            if name in names:
                return "a module of Python"
            return "a package of the runtime" if name in _RUNTIME else ""

        yield from hidden_imports(str(path), folders, owner)
        yield from packageless_imports(str(path), str(self._folder))
        for file in own_files(str(path), folders)[1:]:
            tree = self._tree(Path(file), runtime)
            if isinstance(tree, str) and tree:
                yield tree

    def _function(self, where: Place, tree: ast.Module, source: str, name: str) -> Function | None:
        """The last definition of a name at the top of a module, or None.

        A name that is not bound is a problem; one that is bound in another way than by ``def`` only a run would show.
        """
        names: list[str] = []
        binding: ast.stmt | None = None
        for node in _statements(tree.body):
            bound = list(_bound(node))
            names += bound
            binding = node if name in bound or "*" in bound and binding is None else binding
        if binding is None:
            functions = [node.name for node in tree.body if isinstance(node, Function)]
            hint = nearest(name, functions or [each for each in names if each != "*"])
            self._refuse(where, f"{source} has no function {name}: {hint}")
            return None
        value = getattr(binding, "value", None)
        if isinstance(binding, ast.Assign | ast.AnnAssign) and isinstance(value, ast.Constant | ast.List | ast.Dict | ast.Tuple):
            self._refuse(where, f"{source}:{binding.lineno} {name} is no function")
        return binding if isinstance(binding, Function) else None


def keys_read(function: Function, parameter: int) -> list[str] | None:
    """The constant keys that a function reads of a parameter; None if it uses it in any other way, or has none."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    if len(arguments) <= parameter:
        return None
    name = arguments[parameter].arg
    keys, uses = [], 0
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == name:
            uses += 1
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name:
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            owner = node.func.value
            key = node.args[0] if isinstance(owner, ast.Name) and owner.id == name and node.args else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            keys.append(key.value)
            uses -= 1
    return keys if uses == 0 else None


def _signature(function: Function, parameters: Sequence[str]) -> Iterator[str]:
    """Why a function cannot be called with these positional arguments."""
    if function.decorator_list:
        return  # what is called is what the decorators return
    if isinstance(function, ast.AsyncFunctionDef):
        yield "it is async: write `def`"
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    call = f"({', '.join(parameters)})"
    if required > len(parameters) or len(positional) < len(parameters) and arguments.vararg is None:
        written = ", ".join(argument.arg for argument in positional)
        yield f"it takes ({written}), and is called with {call}"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            yield f"it needs the keyword {argument.arg}, and is called with {call}"


def _results(function: Function, parameters: Sequence[str]) -> Iterator[str]:
    """Why what a function returns is never what is asked for, as far as its text alone says."""
    own = list(_own_nodes(function))
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own):
        yield "it yields: it must return one value"
        return
    if function.decorator_list:
        return
    values = [node.value for node in own if isinstance(node, ast.Return) and node.value is not None]
    is_data = tuple(parameters) == DATA
    if all(isinstance(value, ast.Constant) and value.value is None for value in values):
        if not values and any(map(_may_end_call, own)):
            return  # perhaps it never comes to its end, whatever else may be wrong with it
        yield f"it returns nothing: return {_RETURNED[tuple(parameters)]}"
    elif is_data and all(isinstance(value, ast.Tuple | ast.List) for value in values):
        yield "it returns a tuple: return a dict with x_train and y_train"
    elif is_data:
        for value in values:
            keys = value.keys if isinstance(value, ast.Dict) else [None]
            names = {key.value for key in keys if isinstance(key, ast.Constant)}
            absent = [name for name in ("x_train", "y_train") if name not in names]
            if absent and all(isinstance(key, ast.Constant) for key in keys):
                yield f"the dict that it returns has no {' and no '.join(absent)}"


def _may_end_call(node: ast.AST) -> bool:
    """Whether a function may end at this node without returning: an exception, or the process's own end."""
    if isinstance(node, ast.Call):
        called = node.func
        return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _ENDING
    return isinstance(node, ast.Raise)


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of functions and classes inside it."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            nodes += ast.iter_child_nodes(node)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements at the top of a module, those inside of `if`, `try`, `with` and loops too."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(node, Function | ast.ClassDef):
                yield from _statements(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds; ``*`` where only a run of it would show."""
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name).split(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.For | ast.With):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        # globals()["model"] = …, exec(…)
        called = node.value.func
        if isinstance(called, ast.Name) and called.id == "exec":
            yield "*"


_NEWER: tuple[tuple[tuple[type[ast.AST], ...], str], ...] = (
    ((ast.JoinedStr,), "an f-string"),
    ((ast.AnnAssign,), "an annotated variable"),
    ((ast.NamedExpr,), "an assignment expression"),
    ((ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith), "async code"),
    ((ast.Nonlocal,), "nonlocal"),
    ((ast.MatMult,), "the operator @"),
    ((ast.YieldFrom,), "yield from"),
    ((ast.Match,), "match"),
)


def _newer_syntax(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, what) of what Python 2.7 cannot parse, in the order of the lines."""
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for kinds, what in _NEWER:
            if isinstance(node, kinds):
                found.append((line or 1, what))
        if isinstance(node, Function):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            if node.returns is not None or any(argument.annotation is not None for argument in every):
                found.append((line, "an annotated function"))
            if arguments.posonlyargs or arguments.kwonlyargs:
                found.append((line, "parameters after * or before /"))
        if isinstance(node, ast.Raise) and node.cause is not None:
            found.append((line, "raise … from"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
            found.append((line, "super() without arguments"))
    return sorted(found)
