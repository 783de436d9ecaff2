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
#include <sys/uio.h>
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

static bool write_parts(int fd, const struct iovec *parts, int count)
{
    ssize_t written = writev(fd, parts, count);
    for (int i = 0; written >= 0 && i < count; i++) {
        size_t size = parts[i].iov_len, done = (size_t)written < size ? (size_t)written : size;
        if (done < size && !fp_write_whole(fd, (const char *)parts[i].iov_base + done, size - done))
            return false;
        written -= (ssize_t)done;
    }
    return written >= 0;
}

static int replace_file(int state_fd, const char *name, const char *temporary, const struct iovec *parts, int count,
                        struct fp_error *error)
{
    _cleanup_close_ int fd = openat(state_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fp_fail(error, "create", temporary);
    if (!write_parts(fd, parts, count))
        return fp_fail(error, "write", temporary);
    if (renameat(state_fd, temporary, state_fd, name) < 0)
        return fp_fail(error, "rename", name);
    return 0;
}

/* What changes in the document, its pid and its status. */
static size_t format_status(const struct fp_record *record, enum fp_status status, char ret[64])
{
    long long pid = status == FP_STOPPED ? 0 : record->pid;
    return (size_t)snprintf(ret, 64, "  \"pid\": %lld,\n  \"status\": \"%s\",\n", pid, fp_status_name(status));
}

static int publish(int state_fd, const struct fp_record *record, const struct iovec *pieces, struct fp_error *error)
{
    char status[64];
    struct iovec parts[FP_STATE_PIECES + 2] = {pieces[0], {status, format_status(record, record->status, status)}};
    memcpy(parts + 2, pieces + 1, sizeof(*pieces) * (FP_STATE_PIECES - 1));
    parts[FP_STATE_PIECES + 1] = (struct iovec){"\n", 1};
    return replace_file(state_fd, "state.json", "state.json.new", parts, FP_STATE_PIECES + 2, error);
}

int fp_state_write(int state_fd, const struct fp_record *record, const struct iovec pieces[FP_STATE_PIECES],
                   struct fp_error *error)
{
    struct fp_record written = *record;
    struct iovec parts[FP_STATE_PIECES + 1] = {{&written, sizeof(written)}};
    written.magic = RECORD_MAGIC;
    written.version = RECORD_VERSION;
    memcpy(parts + 1, pieces, sizeof(*pieces) * FP_STATE_PIECES);
    if (replace_file(state_fd, "record", "record.new", parts, FP_STATE_PIECES + 1, error) < 0)
        return -1;
    return record->status == FP_CREATING ? 0 : publish(state_fd, record, pieces, error);
}

int fp_state_publish(int state_fd, const struct fp_state *state, struct fp_error *error)
{
    const struct fp_record *record = &state->record;
    struct iovec pieces[FP_STATE_PIECES] = {{state->text, record->head_size},
                                            {state->text + record->head_size, record->tail_size}};
    return publish(state_fd, record, pieces, error);
}

enum fp_status fp_state_status(const struct fp_state *state)
{
    const struct fp_record *record = &state->record;
    struct fp_process process;
    if (record->status == FP_CREATING)
        return FP_CREATING;
    if (!fp_process_stat((pid_t)record->pid, &process))
        return errno == ESRCH ? FP_STOPPED : FP_RUNNING;
    if (process.start_time != record->start_time || process.state == 'Z' || process.state == 'X')
        return FP_STOPPED;
    const struct fp_cgroup *freezer = fp_cgroup_freezer(&state->cgroups);
    /* what the freezer of version 1 holds is shown as D (the kernel's __task_state_index), most often it is S */
    if (freezer && process.state == 'S' && !fp_cgroup_is_unified(freezer->controllers))
        freezer = NULL;
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
    char changing[64];
    format_status(record, status, changing);
    snprintf(text, size, "%.*s%s%s%s%s%.*s", (int)record->head_size, state->text, changing,
             *reason ? "  \"reason\": \"" : "", reason, *reason ? "\",\n" : "", (int)record->tail_size,
             state->text + record->head_size);
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

/* Names that urunc gives to files of a state directory; a name that is none is somebody else's. */
static bool is_ours(const char *name)
{
    static const char *const files[] = {FP_SOCKET,  FP_CONTROL,  FP_DENIED,        "hooks.json", "hooks.new",
                                        FP_JOURNAL, FP_SNAPSHOT, "state.json.new", "state.json", "record.new"};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        if (strcmp(name, files[i]) == 0)
            return true;
    return false;
}

struct entry { /* struct linux_dirent64 of getdents64(2) */
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* Of those few that there can be, most are not: the directory is asked which there are, by one call most often. */
static int remove_files(int state_fd, struct fp_error *error)
{
    _Alignas(struct entry) char entries[1024];
    for (;;) {
        long size = syscall(SYS_getdents64, state_fd, entries, sizeof(entries));
        if (size < 0)
            return fp_fail(error, "read", "state directory");
        for (long at = 0; at < size;) {
            const struct entry *entry = (const void *)(entries + at);
            at += entry->size;
            if (is_ours(entry->name) && unlinkat(state_fd, entry->name, 0) < 0 && errno != ENOENT)
                return fp_fail(error, "unlink", entry->name);
        }
        if (size < (long)(sizeof(entries) / 2)) /* another one would have found room */
            return 0;
    }
}

int fp_state_remove(int root_fd, const char *id, struct fp_error *error)
{
    _cleanup_close_ int state_fd = openat(root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (state_fd < 0)
        return errno == ENOENT ? 0 : fp_fail(error, "open", id);
    if (remove_files(state_fd, error) < 0)
        return -1;
    /* the record goes last: whatever kills us on the way, delete --force still knows whose this is */
    if (unlinkat(state_fd, "record", 0) < 0 && errno != ENOENT)
        return fp_fail(error, "unlink", "record");
    if (unlinkat(root_fd, id, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return fp_fail(error, "rmdir", id);
    return 0;
}
