// SPDX-License-Identifier: Apache-2.0
// The interpreter inside dist/urunc: CPython, initialised no further than our modules need it, and they themselves.
//
// It is initialised to its core only, when urunc is built (PEP 587, _init_main; embedded_state.c): neither
// encodings nor io nor a search path, so that only what is built in, frozen or ours can be imported.  What wants more
// says so (embedded.py), and the command goes to an ordinary python3.  docs/adr/0004-embedded-interpreter.md
#include <Python.h>
#include <marshal.h>

#include "embedded.h"
#include "embedded_heap.h"
#include "front.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define NATIVE "urunc._fastpath"

/* As ci/modules.py writes it. */
extern const char fp_modules_image_start[];

extern PyObject *PyInit__fastpath(void), *PyInit__abc(void), *PyInit__codecs(void), *PyInit__imp(void),
    *PyInit__io(void), *PyInit__signal(void), *PyInit__stat(void), *PyInit__string(void), *PyInit__thread(void),
    *PyInit__weakref(void), *PyInit_binascii(void), *PyInit_errno(void), *PyInit_gc(void), *PyInit_posix(void),
    *PyInit_select(void), *PyInit_time(void), *PyMarshal_Init(void), *_PyWarnings_Init(void);

/* In place of the list of a whole interpreter: what is not here is not linked. */
struct _inittab _PyImport_Inittab[] = {
    {"_abc", PyInit__abc},           {"_codecs", PyInit__codecs},
    {"_imp", PyInit__imp},           {"_io", PyInit__io},
    {"_signal", PyInit__signal},     {"_stat", PyInit__stat},
    {"_string", PyInit__string},     {"_thread", PyInit__thread},
    {"_warnings", _PyWarnings_Init}, {"_weakref", PyInit__weakref},
    {"binascii", PyInit_binascii},   {"builtins", NULL},
    {"errno", PyInit_errno},         {"gc", PyInit_gc},
    {"marshal", PyMarshal_Init},     {"posix", PyInit_posix},
    {"select", PyInit_select},       {"sys", NULL},
    {"time", PyInit_time},           {NULL, NULL},
};

/* pycore_pylifecycle.h: a part of the initialisation that is left out; handlers are for the process that resumes */
extern int _PySignal_Init(int install_handlers);

static void *arena(void *, size_t size)
{
    return fp_heap_pages(size);
}

static void no_arena(void *, void *, size_t)
{
}

static bool initialise(void)
{
    PyObjectArenaAllocator arenas = {.alloc = arena, .free = no_arena};
    PyObject_SetArenaAllocator(&arenas);
    static wchar_t nowhere[] = L"/";
    PyPreConfig early;
    PyConfig config;
    PyPreConfig_InitIsolatedConfig(&early);
    early.utf8_mode = 1;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = 0;
    config.use_hash_seed = 1; /* 0: the hashes that are kept must hold */
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1;
    wchar_t **paths[] = {&config.program_name, &config.executable,  &config.base_executable,  &config.prefix,
                         &config.exec_prefix,  &config.base_prefix, &config.base_exec_prefix, &config.stdlib_dir};
    PyStatus status = Py_PreInitialize(&early);
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths) && !PyStatus_Exception(status); i++)
        status = PyConfig_SetString(&config, paths[i], nowhere);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    return !PyStatus_Exception(status) && _PySignal_Init(0) == 0 && PyImport_ImportModule("_signal") &&
           PyImport_ImportModule("time"); /* which reads the time zone, and nobody asks for that */
}

static bool set_text(PyObject *dict, const char *key, const char *text)
{
    PyObject *value = PyUnicode_FromString(text);
    return value && PyDict_SetItemString(dict, key, value) == 0;
}

/* Run the code of one module of the first list, as the import system would. */
static bool run_module(PyObject *entry)
{
    const char *name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(entry, 0));
    bool is_package = PyTuple_GET_ITEM(entry, 1) == Py_True;
    PyObject *module = PyImport_AddModule(name);
    if (!module)
        return false;
    PyObject *dict = PyModule_GetDict(module), *path = PyList_New(0);
    char parent[128];
    const char *dot = strrchr(name, '.');
    size_t length = dot ? (size_t)(dot - name) : 0;
    if (length >= sizeof(parent) || !path)
        return false;
    memcpy(parent, name, length);
    parent[length] = '\0';
    if (!set_text(dict, "__package__", is_package ? name : parent) ||
        (is_package && PyDict_SetItemString(dict, "__path__", path) < 0) ||
        PyDict_SetItemString(dict, "__builtins__", PyEval_GetBuiltins()) < 0 ||
        !PyEval_EvalCode(PyTuple_GET_ITEM(entry, 2), dict, dict))
        return false;
    return !dot || PyObject_SetAttrString(PyImport_AddModule(parent), dot + 1, module) == 0;
}

/* urunc._fastpath; the import system of 3.11 looks for no built-in module in a package. */
static bool load_native(void)
{
    PyObject *importlib = PyImport_AddModule("_frozen_importlib"), *package = PyImport_AddModule("urunc");
    PyObject *definition = PyInit__fastpath();
    PyObject *spec = importlib ? PyObject_CallMethod(importlib, "ModuleSpec", "sO", NATIVE, Py_None) : NULL;
    PyObject *module = definition && spec ? PyModule_FromDefAndSpec((PyModuleDef *)definition, spec) : NULL;
    return module && package && PyDict_SetItemString(PyImport_GetModuleDict(), NATIVE, module) == 0 &&
           PyModule_ExecDef(module, (PyModuleDef *)definition) == 0 &&
           PyObject_SetAttrString(package, strrchr(NATIVE, '.') + 1, module) == 0;
}

/* What may be imported later becomes frozen modules, which the import system of the core knows. */
static bool freeze_others(PyObject *entries, const char *codes)
{
    Py_ssize_t count = PyTuple_GET_SIZE(entries);
    struct _frozen *table = calloc((size_t)count + 1, sizeof(*table));
    for (Py_ssize_t i = 0; table && i < count; i++) {
        PyObject *entry = PyTuple_GET_ITEM(entries, i);
        table[i] = (struct _frozen){.name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(entry, 0)),
                                    .code = (const unsigned char *)codes + PyLong_AsLong(PyTuple_GET_ITEM(entry, 2)),
                                    .size = (int)PyLong_AsLong(PyTuple_GET_ITEM(entry, 3)),
                                    .is_package = PyTuple_GET_ITEM(entry, 1) == Py_True};
    }
    PyImport_FrozenModules = table;
    return table != NULL;
}

static bool load_modules(void)
{
    /* the codecs that are built in, and the error handlers, want to see that there is a package of further ones */
    if (!PyImport_AddModule("encodings"))
        return false;
    uint64_t size;
    memcpy(&size, fp_modules_image_start, sizeof(size));
    const char *begin = fp_modules_image_start + sizeof(size);
    PyObject *lists = PyMarshal_ReadObjectFromString(begin, (Py_ssize_t)size);
    if (!lists || !load_native() || !freeze_others(PyTuple_GET_ITEM(lists, 1), begin + size))
        return false;
    PyObject *first = PyTuple_GET_ITEM(lists, 0);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(first); i++)
        if (!run_module(PyTuple_GET_ITEM(first, i)))
            return false;
    Py_INCREF(PyTuple_GET_ITEM(lists, 1)); /* its names are in the table */
    Py_DECREF(lists);
    return true;
}

/* The exit status; negative if an ordinary interpreter has to be asked. */
static long run(int argc, char **argv)
{
    PyObject *words = PyTuple_New(argc);
    for (int i = 0; words && i < argc; i++) {
        PyObject *word = PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]), "surrogateescape");
        if (!word)
            return -1;
        PyTuple_SET_ITEM(words, i, word);
    }
    PyObject *module = PyImport_AddModule("urunc.embedded");
    PyObject *status = words && module ? PyObject_CallMethod(module, "main", "(O)", words) : NULL;
    return status ? PyLong_AsLong(status) : -1;
}

bool fp_embedded_prepare(void)
{
    fp_heap_begin();
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* whatever the build has them be */
    if (!initialise() || !load_modules())
        return false;
    PyGC_Collect();
    PyGC_Disable(); /* all of it goes with the process */
    PyObject *collector = PyImport_ImportModule("gc");
    return collector && PyObject_CallMethod(collector, "freeze", NULL); /* new objects are in no list with these */
}

int main(int argc, char **argv)
{
    if (!fp_embedded_is_prepared()) /* urunc-unprepared: what it writes completes it */
        return argc == 2 && fp_embedded_prepare() && fp_embedded_write(argv[1]) ? 0 : 1;
    if (argc > 0 && fp_embedded_resume()) {
        const char *file = (const char *)getauxval(AT_EXECFN);
        argv[0] = file ? (char *)file : argv[0];
        long status = run(argc, argv);
        if (status >= 0)
            _exit((int)status); /* not through the interpreter's teardown: 1 ms */
    }
    return fp_front_become_python(argc, argv);
}
