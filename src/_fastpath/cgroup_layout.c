// SPDX-License-Identifier: Apache-2.0
// Where the machine has its control groups: proc_pid_cgroup(5), and where they are not in the usual places
// proc_pid_mountinfo(5), which takes the kernel a microsecond for each mount there is.  Read anew each time.
#define _GNU_SOURCE
#include "cgroup.h"

#include "cleanup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define TOP    "/sys/fs/cgroup"
#define BESIDE "unified" /* systemd's name of the directory of a cgroup2 beside version 1 */

enum { READ_SIZE = 16 << 10, TEXT_MAX = 16 << 20, OCTAL = 8, HIERARCHY_ROOT = 1 };
static const ino_t initial_namespace = 0xEFFFFFFB; /* PROC_CGROUP_INIT_INO of linux/proc_ns.h */

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
        if (unified == fp_cgroup_is_unified(controllers) &&
            (unified || has_option(mounts[i].options, controllers, length)))
            return &mounts[i];
    }
    return NULL;
}

/* The next line of /proc/PID/cgroup: "4:memory:/path", of a cgroup2 "0::/path". */
static bool next_own(char **text, struct fp_hierarchy *ret)
{
    for (char *line; (line = strsep(text, "\n"));) {
        strsep(&line, ":");
        const char *controllers = line ? strsep(&line, ":") : NULL;
        if (line) {
            *ret = (struct fp_hierarchy){.controllers = *controllers ? controllers : FP_CGROUP2, .own = line};
            return true;
        }
    }
    return false;
}

/* A line belongs to the mount that has the first of its controllers. */
static void match(struct fp_cgroup_layout *layout, const struct mount *mounts, int count)
{
    char *text = layout->own_text;
    for (struct fp_hierarchy own; layout->count < FP_CGROUPS_MAX && next_own(&text, &own);) {
        const struct mount *mount = mount_of(mounts, count, own.controllers);
        if (!mount)
            continue;
        own.mount = mount->point;
        own.root = mount->root;
        layout->items[layout->count++] = own;
    }
}

/* Whether all of a hierarchy of that kind is mounted there: the root of each has the same number (kernfs). */
static bool is_hierarchy(const char *path, unsigned long kind)
{
    struct stat status;
    struct statfs system;
    return lstat(path, &status) == 0 && status.st_ino == HIERARCHY_ROOT && statfs(path, &system) == 0 &&
           (unsigned long)system.f_type == kind;
}

/* Add the hierarchy of a line if it is where everybody has it; its path goes to `*at`.  False: it is elsewhere. */
static bool add_usual(struct fp_cgroup_layout *layout, struct fp_hierarchy own, bool is_alone, char **at)
{
    bool is_version_2 = fp_cgroup_is_unified(own.controllers);
    if (is_alone && !is_version_2)
        return true;
    const char *named = strchr(own.controllers, '=');
    own.mount = *at;
    own.root = "/";
    char *end = stpcpy(*at, TOP);
    if (!is_alone)
        end = stpcpy(stpcpy(end, "/"), is_version_2 ? BESIDE : named ? named + 1 : own.controllers);
    if (!is_hierarchy(own.mount, is_version_2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
        return is_version_2 && !is_alone; /* one that is not there is one that nobody has beside version 1 */
    *at = end + 1;
    layout->items[layout->count++] = own;
    return true;
}

/* What most machines have, by a few statfs(2).  In another cgroup namespace the root of a mount is for mountinfo to
 * tell, and so is all that is not in its place. */
static bool read_usual(struct fp_cgroup_layout *ret)
{
    struct stat status;
    if (stat("/proc/self/ns/cgroup", &status) < 0 || status.st_ino != initial_namespace)
        return false;
    ret->own_text = fp_cgroup_read(AT_FDCWD, "/proc/self/cgroup");
    if (!ret->own_text)
        return false;
    char *at = malloc(strlen(ret->own_text) + FP_CGROUPS_MAX * sizeof(TOP "/" BESIDE)), *text = ret->own_text;
    ret->mounts_text = at;
    bool is_alone = is_hierarchy(TOP, CGROUP2_SUPER_MAGIC), is_usual = at;
    for (struct fp_hierarchy own; is_usual && ret->count < FP_CGROUPS_MAX && next_own(&text, &own);)
        is_usual = add_usual(ret, own, is_alone, &at);
    return is_usual && ret->count > 0;
}

static int read_mountinfo(struct fp_cgroup_layout *ret, struct fp_error *error)
{
    struct mount mounts[FP_CGROUPS_MAX];
    ret->mounts_text = fp_cgroup_read(AT_FDCWD, "/proc/self/mountinfo");
    if (!ret->mounts_text)
        return fp_fail(error, "read", "/proc/self/mountinfo");
    ret->own_text = fp_cgroup_read(AT_FDCWD, "/proc/self/cgroup");
    if (!ret->own_text)
        return fp_fail(error, "read", "/proc/self/cgroup");
    match(ret, mounts, find_mounts(ret->mounts_text, mounts));
    for (int i = 0; i < ret->count; i++)
        if (fp_cgroup_is_unified(ret->items[i].controllers) && strcmp(ret->items[i].mount, TOP) == 0) {
            ret->items[0] = ret->items[i];
            ret->count = 1;
        }
    return 0;
}

int fp_cgroup_layout_read(struct fp_cgroup_layout *ret, struct fp_error *error)
{
    *ret = (struct fp_cgroup_layout){0};
    if (read_usual(ret))
        return 0;
    fp_cgroup_layout_deinit(ret);
    int result = read_mountinfo(ret, error);
    if (result < 0)
        fp_cgroup_layout_deinit(ret);
    return result;
}

void fp_cgroup_layout_deinit(struct fp_cgroup_layout *layout)
{
    free(layout->mounts_text);
    free(layout->own_text);
    *layout = (struct fp_cgroup_layout){0};
}
