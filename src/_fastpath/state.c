// SPDX-License-Identifier: Apache-2.0
// The state directory; see state.h.
#define _GNU_SOURCE
#include "state.h"

#include "cleanup.h"
#include "control.h"
#include "denied.h"
#include "journal.h"
#include "kernel.h"
#include "process.h"
#include "protocol.h"
#include "snapshot.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define RECORD_MAGIC 0x52525255u /* "URRR" */
enum { RECORD_VERSION = 2, TEXT_MAX = 16 << 20, LOCK_POLL_MS = 2 };
#define OVERHEAD_BEFORE_2 (UINT64_C(128) << 20) /* memory_overhead_mib of who did not configure it */

void fp_state_deinit(struct fp_state *state)
{
    free(state->text);
    state->text = NULL;
    fp_cgroup_list_deinit(&state->cgroups);
}

/* The size of the header, -1 if it is none.  Containers outlive the urunc that has made them: what each version that
 * there was has written is read. */
static ssize_t read_header(int fd, struct fp_record *ret, struct fp_error *error)
{
    const ssize_t added = sizeof(ret->overhead);
    if (read(fd, ret, sizeof(*ret)) != sizeof(*ret) || ret->magic != RECORD_MAGIC || !ret->version)
        return fp_fail_with(error, EINVAL, "read", "record: not one of urunc's");
    if (ret->version > RECORD_VERSION)
        return fp_fail_with(error, EPROTONOSUPPORT, "read", "record: of a newer urunc");
    ssize_t size = sizeof(*ret);
    if (ret->version == 1) {
        size -= added;
        uint32_t sizes[2];
        memcpy(sizes, &ret->overhead, sizeof(sizes));
        ret->overhead = OVERHEAD_BEFORE_2;
        ret->head_size = sizes[0];
        ret->tail_size = sizes[1];
        if (lseek(fd, size, SEEK_SET) < 0)
            return fp_fail(error, "read", "record");
    }
    if (ret->head_size > TEXT_MAX || ret->tail_size > TEXT_MAX)
        return fp_fail_with(error, EINVAL, "read", "record: not one of urunc's");
    return size;
}

int fp_state_read(int state_fd, struct fp_state *ret, struct fp_error *error)
{
    *ret = (struct fp_state){0};
    _cleanup_close_ int fd = openat(state_fd, "record", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fp_fail(error, "open", "record");
    struct fp_record *record = &ret->record;
    struct stat status;
    ssize_t header = read_header(fd, record, error);
    if (header < 0)
        return -1;
    size_t size = (size_t)record->head_size + record->tail_size;
    ret->text = malloc(size + 1);
    if (!ret->text)
        return fp_fail(error, "read", "record");
    if (fstat(fd, &status) < 0 || status.st_size != header + (off_t)size ||
        read(fd, ret->text, size) != (ssize_t)size) {
        fp_state_deinit(ret);
        return fp_fail_with(error, EINVAL, "read", "record: cut short");
    }
    ret->text[size] = '\0';
    if (fp_cgroup_list_read(state_fd, &ret->cgroups, error) < 0) {
        fp_state_deinit(ret);
        return -1;
    }
    return 0;
}

const char *fp_state_name(int state_fd, char ret[FP_PATH_MAX])
{
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", state_fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = '\0';
    const char *slash = strrchr(path, '/');
    snprintf(ret, FP_PATH_MAX, "%.*s", FP_PATH_MAX - 1, slash ? slash + 1 : "");
    return ret;
}

static int replace_file(int state_fd, const char *name, const char *temporary, const void *first, size_t first_size,
                        const void *second, size_t second_size, struct fp_error *error)
{
    _cleanup_close_ int fd = openat(state_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fp_fail(error, "create", temporary);
    if (!fp_write_whole(fd, first, first_size) || !fp_write_whole(fd, second, second_size))
        return fp_fail(error, "write", temporary);
    if (renameat(state_fd, temporary, state_fd, name) < 0)
        return fp_fail(error, "rename", name);
    return 0;
}

int fp_state_write(int state_fd, const struct fp_state *state, struct fp_error *error)
{
    struct fp_record record = state->record;
    record.magic = RECORD_MAGIC;
    record.version = RECORD_VERSION;
    size_t size = (size_t)record.head_size + record.tail_size;
    if (replace_file(state_fd, "record", "record.new", &record, sizeof(record), state->text, size, error) < 0)
        return -1;
    return record.status == FP_CREATING ? 0 : fp_state_publish(state_fd, state, error);
}

int fp_state_publish(int state_fd, const struct fp_state *state, struct fp_error *error)
{
    _cleanup_free_ char *json = fp_state_json(state, state->record.status, "");
    if (!json)
        return fp_fail(error, "write", "state.json");
    return replace_file(state_fd, "state.json", "state.json.new", json, strlen(json), "\n", 1, error);
}

enum fp_status fp_state_status(const struct fp_state *state)
{
    const struct fp_record *record = &state->record;
    struct fp_process process;
    if (record->status == FP_CREATING)
        return FP_CREATING;
    if (!fp_process_stat((pid_t)record->pid, &process) || process.start_time != record->start_time ||
        process.state == 'Z' || process.state == 'X')
        return FP_STOPPED;
    const struct fp_cgroup *freezer = fp_cgroup_freezer(&state->cgroups);
    if (freezer ? fp_cgroup_is_frozen(freezer) : process.state == 'T')
        return FP_PAUSED;
    return strcmp(process.comm, FP_INIT_NAME) == 0 ? FP_CREATED : FP_RUNNING;
}

const char *fp_status_name(enum fp_status status)
{
    static const char *const names[] = {
        [FP_CREATING] = "creating", [FP_CREATED] = "created", [FP_RUNNING] = "running",
        [FP_PAUSED] = "paused",     [FP_STOPPED] = "stopped",
    };
    return status >= FP_CREATING && status <= FP_STOPPED ? names[status] : "unknown";
}

char *fp_state_json(const struct fp_state *state, enum fp_status status, const char *reason)
{
    const struct fp_record *record = &state->record;
    size_t size = (size_t)record->head_size + record->tail_size + strlen(reason) + 128;
    char *text = malloc(size);
    if (!text)
        return NULL;
    long long pid = status == FP_STOPPED ? 0 : record->pid;
    snprintf(text, size, "%.*s  \"pid\": %lld,\n  \"status\": \"%s\",\n%s%s%s%.*s", (int)record->head_size, state->text,
             pid, fp_status_name(status), *reason ? "  \"reason\": \"" : "", reason, *reason ? "\",\n" : "",
             (int)record->tail_size, state->text + record->head_size);
    return text;
}

static off_t hash(const char *id)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *id; id++)
        value = (value ^ (uint8_t)*id) * UINT64_C(0x100000001b3);
    return (off_t)(value >> 2); /* off_t is signed, and the end of the range must fit too */
}

int fp_state_lock(int root_fd, const char *id, int timeout_ms, struct fp_error *error)
{
    _cleanup_close_ int fd = openat(root_fd, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fp_fail(error, "open", ".lock");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = hash(id), .l_len = 1};
    for (int waited = 0; fcntl(fd, F_OFD_SETLK, &lock) < 0; waited += LOCK_POLL_MS) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return fp_fail(error, "lock", id);
        if (waited >= timeout_ms)
            return fp_fail_with(error, EAGAIN, "lock", id);
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000}, NULL);
    }
    return fp_take_fd(&fd);
}

int fp_state_remove(int root_fd, const char *id, struct fp_error *error)
{
    static const char *const files[] = {FP_SOCKET,    FP_CONTROL,   FP_DENIED,   "hooks.json",
                                        "hooks.new",  FP_JOURNAL,   FP_SNAPSHOT, "state.json.new",
                                        "state.json", "record.new", "record"};
    _cleanup_close_ int state_fd = openat(root_fd, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (state_fd < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open", id);
    /* the record goes last: whatever kills us on the way, delete --force still knows whose this is */
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        if (unlinkat(state_fd, files[i], 0) < 0 && errno != ENOENT)
            return fp_fail(error, "unlink", files[i]);
    if (unlinkat(root_fd, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return fp_fail(error, "rmdir", id);
    return 0;
}
