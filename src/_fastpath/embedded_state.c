// SPDX-License-Identifier: Apache-2.0
// The state of a prepared interpreter: written once when urunc is built, resumed by every process.
//
// All that CPython and our C write to lies between fp_embedded_start and fp_embedded_end (embedded.lds), what they
// allocate included (embedded_heap.c).  The build runs urunc-unprepared once; what that writes takes the place of this
// section in urunc-embedded.  libc's data is not in it, and new in each process.  So what is kept must hold nothing
// that libc or the kernel knows: the thread, handlers of signals and the environment are told again.
// docs/adr/0006-state-at-build-time.md
#define Py_BUILD_CORE
#include <Python.h>
#include <internal/pycore_runtime.h>

#include "embedded.h"
#include "embedded_heap.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

extern char fp_embedded_start[], fp_embedded_end[];

static bool is_prepared;

/* For CPython (ld --wrap): there is one thread, with one name in all processes. */
pthread_t __wrap_pthread_self(void)
{
    return 1;
}

bool fp_embedded_is_prepared(void)
{
    return is_prepared;
}

bool fp_embedded_write(const char *path)
{
    if (!fp_heap_end()) {
        fprintf(stderr, "%s: the prepared state does not fit: raise FP_STATE_HEAP\n", path);
        return false;
    }
    is_prepared = true;
    _PyRuntime.gilstate.autoTSSkey = (Py_tss_t)Py_tss_NEEDS_INIT;
    PyThreadState_Get()->native_thread_id = 0; /* for debuggers */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t size = fp_embedded_end - fp_embedded_start;
    return fd >= 0 && write(fd, fp_embedded_start, (size_t)size) == size && close(fd) == 0;
}

/* posix.environ, which os.environ is, too. */
static bool resume_environment(void)
{
    PyObject *posix = PyImport_AddModule("posix");
    PyObject *names = posix ? PyDict_GetItemString(PyModule_GetDict(posix), "environ") : NULL;
    if (!names)
        return false;
    PyDict_Clear(names); /* of the build's */
    for (char **at = environ; *at; at++) {
        const char *value = strchr(*at, '=');
        if (!value)
            continue;
        PyObject *key = PyBytes_FromStringAndSize(*at, value - *at), *text = PyBytes_FromString(value + 1);
        if (!key || !text || !PyDict_SetDefault(names, key, text)) /* the first of two, as posix does */
            return false;
    }
    return true;
}

/* What an interpreter does at its start; its tables say already what is the default of a process. */
static bool resume_signals(void)
{
    struct sigaction before;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (sigaction(SIGINT, NULL, &before) < 0 || before.sa_handler != SIG_DFL)
        return true;
    PyObject *module = PyImport_AddModule("_signal");
    PyObject *handler = module ? PyDict_GetItemString(PyModule_GetDict(module), "default_int_handler") : NULL;
    return handler && PyObject_CallMethod(module, "signal", "iO", SIGINT, handler);
}

bool fp_embedded_resume(void)
{
    Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;
    return PyThread_tss_create(key) == 0 && PyThread_tss_set(key, PyThreadState_Get()) == 0 && resume_environment() &&
           resume_signals();
}
