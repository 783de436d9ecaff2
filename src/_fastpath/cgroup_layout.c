// SPDX-License-Identifier: Apache-2.0
// Where the machine has its control groups: proc_pid_mountinfo(5) and proc_pid_cgroup(5), read anew each time.
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"

#include <fcntl.h>
#include <string.h>

enum { READ_SIZE = 16 << 10, TEXT_MAX = 16 << 20, OCTAL = 8 };

struct mount {
    char *root, *point, *type, *options;
};

char *fp_cgroup_read(int dirfd, const char *name)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    _cleanup_free_ char *text = NULL;
    size_t size = 0, room = 0;
    for (;;) {
        if (room - size < READ_SIZE / 2) {
            char *more = room < TEXT_MAX ? realloc(text, room += READ_SIZE + room) : NULL;
            if (!more) {
                errno = ENOMEM;
                return NULL;
            }
            text = more;
        }
        ssize_t got = read(fd, text + size, room - size - 1);
        if (got < 0)
            return NULL;
        if (got == 0)
            break;
        size += (size_t)got;
    }
    text[size] = '\0';
    char *whole = text;
    text = NULL;
    return whole;
}

/* Blanks, line ends and backslashes are written as \040 and so on. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
            *to++ = (char)((from[1] - '0') * OCTAL * OCTAL + (from[2] - '0') * OCTAL + (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/* "36 35 98:0 /root /point rw,noatime shared:1 - type source options" */
static bool split(char *line, struct mount *ret)
{
    char *optional = strstr(line, " - ");
    if (!optional)
        return false;
    *optional = '\0';
    char *rest = optional + 3, *source;
    for (int i = 0; i < 3; i++)
        strsep(&line, " ");
    ret->root = strsep(&line, " ");
    ret->point = strsep(&line, " ");
    ret->type = strsep(&rest, " ");
    source = strsep(&rest, " ");
    ret->options = strsep(&rest, " ");
    if (!ret->root || !ret->point || !source || !ret->options)
        return false;
    unescape(ret->root);
    unescape(ret->point);
    return true;
}

static bool is_below(const char *path, const char *top)
{
    size_t length = strlen(top);
    return strncmp(path, top, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static bool has_option(const char *options, const char *wanted, size_t length)
{
    for (const char *at = options; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, wanted, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

/* Mounts of control groups that nothing has been mounted over since, in their order. */
static int find_mounts(char *text, struct mount *ret)
{
    int count = 0;
    for (char *line; (line = strsep(&text, "\n"));) {
        struct mount mount;
        if (!split(line, &mount))
            continue;
        int kept = 0;
        for (int i = 0; i < count; i++)
            if (!is_below(ret[i].point, mount.point))
                ret[kept++] = ret[i];
        count = kept;
        if (strncmp(mount.type, "cgroup", 6) == 0 && count < FP_CGROUPS_MAX)
            ret[count++] = mount;
    }
    return count;
}

static const struct mount *mount_of(const struct mount *mounts, int count, const char *controllers)
{
    size_t length = strcspn(controllers, ",");
    for (int i = 0; i < count; i++) {
        bool unified = strcmp(mounts[i].type, FP_CGROUP2) == 0;
        if (unified ? !*controllers : *controllers && has_option(mounts[i].options, controllers, length))
            return &mounts[i];
    }
    return NULL;
}

/* A line "4:memory:/path" belongs to the mount that has the first of its controllers, "0::/path" to cgroup2. */
static void match(struct fp_cgroup_layout *layout, const struct mount *mounts, int count)
{
    char *text = layout->own_text;
    for (char *line; (line = strsep(&text, "\n")) && layout->count < FP_CGROUPS_MAX;) {
        strsep(&line, ":");
        const char *controllers = line ? strsep(&line, ":") : NULL;
        if (!line)
            continue;
        const struct mount *mount = mount_of(mounts, count, controllers);
        if (mount)
            layout->items[layout->count++] =
                (struct fp_hierarchy){*controllers ? controllers : FP_CGROUP2, mount->point, mount->root, line};
    }
}

int fp_cgroup_layout_read(struct fp_cgroup_layout *ret, struct fp_error *error)
{
    *ret = (struct fp_cgroup_layout){0};
    struct mount mounts[FP_CGROUPS_MAX];
    ret->mounts_text = fp_cgroup_read(AT_FDCWD, "/proc/self/mountinfo");
    if (!ret->mounts_text)
        return fp_fail(error, "read", "/proc/self/mountinfo");
    ret->own_text = fp_cgroup_read(AT_FDCWD, "/proc/self/cgroup");
    if (!ret->own_text) {
        fp_fail(error, "read", "/proc/self/cgroup");
        fp_cgroup_layout_deinit(ret);
        return -1;
    }
    match(ret, mounts, find_mounts(ret->mounts_text, mounts));
    for (int i = 0; i < ret->count; i++)
        if (fp_cgroup_is_unified(ret->items[i].controllers) && strcmp(ret->items[i].mount, "/sys/fs/cgroup") == 0) {
            ret->items[0] = ret->items[i];
            ret->count = 1;
        }
    return 0;
}

void fp_cgroup_layout_deinit(struct fp_cgroup_layout *layout)
{
    free(layout->mounts_text);
    free(layout->own_text);
    *layout = (struct fp_cgroup_layout){0};
}
