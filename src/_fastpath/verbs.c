// SPDX-License-Identifier: Apache-2.0
// create, start and delete of an ordinary container; see verbs.h.
#define _GNU_SOURCE
#include "verbs.h"

#include "cleanup.h"
#include "journal.h"
#include "lifecycle.h"
#include "network.h"

#include <fcntl.h>
#include <sys/stat.h>

static int make(struct fp_sandbox *sandbox, struct fp_creation *wanted, struct fp_error *error)
{
    const int last = FP_CREATION_PLANS - 1;
    struct fp_record *record = &wanted->record;
    record->status = FP_CREATING;
    if (fp_state_write(sandbox->state_fd, record, wanted->document, error) < 0)
        return -1;
    for (int i = 0; i <= last; i++)
        if (fp_sandbox_execute(sandbox, wanted->plans[i], wanted->sizes[i], i == last ? wanted->slots : NULL,
                               i == last ? wanted->slot_count : 0, error) < 0)
            return -1;
    record->status = FP_CREATED;
    record->pid = sandbox->pid;
    record->start_time = sandbox->start_time;
    if (fp_state_write(sandbox->state_fd, record, wanted->document, error) < 0)
        return -1;
    return fp_sandbox_release(sandbox, error);
}

static void undo(int root_fd, const char *id, int state_fd, struct fp_error *error)
{
    struct fp_error own = {0};
    if (fp_journal_undo(state_fd, &own) == 0 && fp_state_remove(root_fd, id, &own) == 0)
        return;
    *error = (struct fp_error){0};
    fp_fail_with(error, own.number, "undo a failed create; run delete --force", id);
}

int fp_container_create(struct fp_sandbox *sandbox, struct fp_creation *wanted, struct fp_error *error)
{
    struct fp_error ignored = {0};
    _cleanup_close_ int root_fd = open(wanted->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return 0;
    _cleanup_close_ int lock_fd = fp_state_lock(root_fd, wanted->id, 0, &ignored);
    if (lock_fd < 0 || mkdirat(root_fd, wanted->id, 0700) < 0)
        return 0;
    _cleanup_close_ int fd = openat(root_fd, wanted->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fp_fail(error, "open", wanted->id);
        unlinkat(root_fd, wanted->id, AT_REMOVEDIR); /* or nobody could have the name, and nothing be deleted */
        return -1;
    }
    sandbox->state_fd = fd;
    int status = make(sandbox, wanted, error);
    if (status < 0) {
        fp_sandbox_deinit(sandbox);
        undo(root_fd, wanted->id, fd, error);
    }
    sandbox->state_fd = -1;
    return status < 0 ? -1 : 1;
}

void fp_container_deinit(struct fp_container *container)
{
    fp_close_guard(&container->fd);
    fp_close_guard(&container->lock_fd);
    fp_close_guard(&container->root_fd);
    fp_state_deinit(&container->state);
}

static int absent(void)
{
    return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

int fp_container_open(struct fp_container *ret, const char *root, const char *id, bool locks)
{
    struct fp_error error = {0};
    *ret = (struct fp_container){.root_fd = -1, .lock_fd = -1, .fd = -1, .status = FP_STOPPED};
    ret->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ret->root_fd < 0)
        return absent();
    /* whoever has to wait can do so in Python */
    if (locks && (ret->lock_fd = fp_state_lock(ret->root_fd, id, 0, &error)) < 0)
        return -1;
    ret->fd = openat(ret->root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (ret->fd < 0)
        return absent();
    if (fp_state_read(ret->fd, &ret->state, &error) < 0)
        return -1;
    ret->status = fp_state_status(&ret->state);
    return ret->status == FP_CREATED || ret->status == FP_RUNNING || ret->status == FP_STOPPED ? 1 : -1;
}

int fp_container_start(struct fp_container *container, struct fp_error *error)
{
    const struct fp_record *record = &container->state.record;
    if (record->flags & ~(uint32_t)FP_FLAG_LATE || container->status != FP_CREATED)
        return 0;
    if (record->flags & FP_FLAG_LATE && fp_network_has_links((int)record->pid))
        return 0;
    return fp_lifecycle_start(container->fd, &container->state, error) == 0 ? 1 : -1;
}

bool fp_container_delete(struct fp_container *container, const char *id, bool force)
{
    struct fp_error error = {0};
    const uint32_t others = ~(uint32_t)(FP_FLAG_LATE | FP_FLAG_WAITS);
    if (container->state.record.flags & others || (container->status != FP_STOPPED && !force))
        return false;
    if (container->status != FP_STOPPED && fp_lifecycle_end(&container->state, &error) < 0)
        return false;
    return fp_journal_undo(container->fd, &error) == 0 && fp_state_remove(container->root_fd, id, &error) == 0;
}
