"""The user's code in a framework's process: how a function's file is loaded, and what it may import. Python 2.7 and 3."""

from __future__ import print_function

import ast
import importlib
import io
import os
import sys

from jobs.portable import missing_files
from jobs.portable.inputs import WrongInput

_added = []
"""The folders of the user's code that Python searches for modules."""
_forgotten = []
"""Modules that were forgotten: functions of a module that Python 2 frees lose their globals."""


def user_function(reference, code):
    """The function that ``file.py:function`` names, from the folder ``code``; raises WrongInput if there is none.

    The file is loaded from its path, whatever its name. What it imports is looked for in the runtime first, then in the
    function's folder, then in ``code``: a file of the user's never takes the place of a module that a library imports. An
    import that means a file of the user's, but would find a module of the runtime, raises WrongInput. From then on the
    function's folder is the working directory of this process.
    """
    source, _, name = reference.rpartition(":")
    code = os.path.abspath(code)
    path = os.path.join(code, source)
    if not os.path.isfile(path):
        raise WrongInput("%s is not in the snapshot of the code" % source)
    folders = add_folders(os.path.dirname(path), code)
    for problem in hidden_imports(path, folders, _owner) + packageless_imports(path, code):
        raise WrongInput(problem)
    # An entry "" is the working directory at the time of an import.
    sys.path[:] = [item or os.getcwd() for item in sys.path]
    os.chdir(folders[0])
    with missing_files.explained(code):
        function = getattr(_load(path, code), name, None)
    if not callable(function):
        raise WrongInput("%s has no function %s" % (source, name))
    return missing_files.opening_files(function, code)


def add_folders(*folders):
    """Have Python search these folders of the user's code too, after the runtime's own; returns them as absolute paths."""
    folders = [os.path.abspath(folder) for folder in folders]
    for folder in folders:
        if folder not in _added:
            _added.append(folder)
            sys.path.append(folder)
    return folders


def forget_modules(folder):
    """Make the next import of each module under ``folder`` run it again."""
    folder = os.path.join(os.path.realpath(folder), "")
    for name, module in list(sys.modules.items()):
        source = getattr(module, "__file__", None)
        if source and os.path.realpath(source).startswith(folder):
            _forgotten.append(sys.modules.pop(name))


def hidden_imports(path, folders, owner):
    """A line for each import that means a file of the user's, but would find another module of that name.

    Of the file ``path`` and of the user's files that it imports, which lie in ``folders``. ``owner(name)``: whose module
    Python would find instead of the user's, as words; empty if it would find the user's.
    """
    return [
        "%s:%d imports %s, which is %s and not your %s: rename yours"
        % (os.path.relpath(file, folders[-1]), line, name, owner(name), os.path.relpath(own[0], folders[-1]))
        for file, line, name, own in _own_imports(path, folders)
        if owner(name)
    ]


def packageless_imports(path, code):
    """A line if a file of the user's imports relative to its package, and lies in none: at the top of the folder ``code``."""
    lines = _relative_imports(path)
    if not lines or os.path.dirname(path) != code:
        return []
    return [
        "%s:%d imports relative to a package (from .), and is in none: import without the dot"
        % (os.path.basename(path), lines[0])
    ]


def own_files(path, folders):
    """The file ``path`` and the user's files in ``folders`` that it imports, directly or not."""
    files = [path]
    for _, _, _, own in _own_imports(path, folders):
        files += [file for file in own if file not in files]
    return files


def _own_imports(path, folders):
    """(file, line, name, the user's files of that name) of each import in ``path`` and in what it imports of the user's."""
    files, seen = [path], set()
    while files:
        file = files.pop(0)
        if file not in seen:
            seen.add(file)
            for line, name in _imports(file):
                own = next((own for own in (_own_files(folder, name) for folder in folders) if own), None)
                if own:
                    yield file, line, name, own
                    files += own
            if _relative_imports(file):
                files += _own_files(*os.path.split(os.path.dirname(file)))


def _own_files(folder, name):
    """The user's files that ``import name`` may load from a folder: its module, or all of its package."""
    module, package = os.path.join(folder, name + ".py"), os.path.join(folder, name)
    if os.path.isfile(module):
        return [module]
    found = []
    for base, folders, names in os.walk(package):
        folders.sort()
        found += [os.path.join(base, file) for file in sorted(names) if file.endswith(".py")]
    return found


def _nodes(path):
    """The nodes of a Python file's syntax; none if it is not Python here."""
    with io.open(path, "rb") as file:
        source = file.read()
    try:
        return list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return []


def _relative_imports(path):
    """The lines of a Python file that import relative to its package."""
    return [node.lineno for node in _nodes(path) if isinstance(node, ast.ImportFrom) and node.level]


def _imports(path):
    """(line, the first part of the name) of each absolute import in a Python file."""
    imports = []
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            imports += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            imports.append((node.lineno, node.module.split(".")[0]))
    return imports


def _owner(name):
    """Whose module of that name Python finds outside the user's folders, as words; empty if there is none."""
    if name == "jobs":
        return "a module of the program that runs the step"
    place = "built in" if name in sys.builtin_module_names else _place(name, [item for item in sys.path if item not in _added])
    return "a module of the runtime (%s)" % place if place else ""


def _place(name, folders):
    """The file of the module or package of that name in ``folders``; empty if there is none."""
    if sys.version_info[0] == 2:
        import imp

        try:
            file, place, _ = imp.find_module(name, folders)
        except ImportError:
            return ""
        if file:
            file.close()
        return place
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec(name, folders)
    # A folder without __init__.py has no origin: Python prefers any module to it.
    return spec.origin if spec is not None and spec.origin else ""


def _load(path, code):
    """The module of a Python file, under its own name unless another module has that; in its package if it imports from that."""
    if _relative_imports(path):
        source = os.path.relpath(path, code)
        folders = os.path.dirname(source).split(os.sep)
        if _owner(folders[0]):
            raise WrongInput(
                "%s/ has the name of %s, and %s imports from it: rename yours" % (folders[0], _owner(folders[0]), source)
            )
        return importlib.import_module(".".join(folders + [os.path.splitext(os.path.basename(path))[0]]))
    name, extension = os.path.splitext(os.path.basename(path))
    loaded = sys.modules.get(name)
    if loaded is not None and os.path.splitext(getattr(loaded, "__file__", None) or "")[0] + extension == path:
        return loaded
    if loaded is not None or _owner(name):
        name += "_of_user"
    if sys.version_info[0] == 2:
        import imp

        return imp.load_source(name, path)
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
