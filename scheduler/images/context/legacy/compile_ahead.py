# Compiles the modules of a Theano function on all cores. Theano compiles one for each operation, one after another and under a
# lock; here those that the compile folder lacks are compiled first, side by side, and Theano finds them by their source.
from __future__ import print_function
import multiprocessing, os, shutil, tempfile
from multiprocessing.pool import ThreadPool
from theano.gof import vm
from theano.gof.cc import CLinker, get_module_cache
from theano.gof.cmodule import GCC_compiler, dlimport, get_lib_extension, get_module_hash
from theano.gof.fg import FunctionGraph

_compile_str, _make_all = GCC_compiler.compile_str, vm.VM_Linker.make_all
_threads = ThreadPool(multiprocessing.cpu_count())  # each waits for a compiler
_scratch = tempfile.mkdtemp()
_folders = {}  # by source and arguments, of the modules that are compiled and that Theano has not asked for
counts = {'ahead': 0, 'alone': 0}


def start():
    """From now on the modules of each function are compiled ahead."""
    vm.VM_Linker.make_all = _make_all_ahead
    GCC_compiler.compile_str = staticmethod(_compiled)


def finish():
    """Delete what Theano has not asked for; returns its number."""
    shutil.rmtree(_scratch)
    return len(_folders)


def _make_all_ahead(self, *arguments, **options):
    jobs = {}
    for node in self.schedule(self.fgraph):
        try:
            job = _job(node)
        except Exception:  # it has no C code, or such as is known only later: Theano does with it what it always does
            continue
        if job is not None and _key(job) not in _folders:
            jobs.setdefault(_key(job), job)
    for key, folder in zip(jobs, _threads.map(_compile, jobs.values())):
        if folder is not None:
            _folders[key] = folder
    return _make_all(self, *arguments, **options)


def _job(node):
    """The arguments of Theano's compiler for a node as Op.make_c_thunk has them; None if the module is there already."""
    node.op.prepare_node(node, None, None, 'c')
    linker = CLinker().accept(FunctionGraph(node.inputs, node.outputs), no_recycling=[])
    key, cache = linker.cmodule_key(), get_module_cache()
    source = linker.get_src_code()
    if key in cache.entry_from_key or get_module_hash(source, key) in cache.module_hash_to_key_data:
        return None
    return {
        'module_name': linker.get_dynamic_module().code_hash, 'src_code': source, 'include_dirs': linker.header_dirs(),
        'lib_dirs': linker.lib_dirs(), 'libs': linker.libraries(), 'preargs': linker.compile_args(),
    }


def _key(job):
    return job['src_code'], tuple(tuple(job[name] or ()) for name in ('include_dirs', 'lib_dirs', 'libs', 'preargs'))


def _compile(job):
    """The folder in which a module is compiled; None if it cannot be: Theano tries again, and says why."""
    folder = tempfile.mkdtemp(dir=_scratch)
    try:
        _compile_str(location=folder, py_module=False, **job)
    except Exception:
        return None
    return folder


def _compiled(module_name, src_code, location=None, include_dirs=None, lib_dirs=None, libs=None, preargs=None, **options):
    """GCC_compiler.compile_str, which takes a module that is compiled already."""
    job = {
        'module_name': module_name, 'src_code': src_code, 'include_dirs': include_dirs, 'lib_dirs': lib_dirs, 'libs': libs,
        'preargs': preargs,
    }
    folder = None if options else _folders.pop(_key(job), None)
    if folder is None:
        counts['alone'] += 1
        return _compile_str(location=location, **dict(options, **job))
    counts['ahead'] += 1
    for name in os.listdir(folder):
        shutil.move(os.path.join(folder, name), location)
    open(os.path.join(location, '__init__.py'), 'w').close()
    return dlimport(os.path.join(location, '%s.%s' % (module_name, get_lib_extension())))
