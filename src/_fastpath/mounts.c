// SPDX-License-Identifier: Apache-2.0
// The reader of mountinfo; see mounts.h.
#define _GNU_SOURCE
#include "mounts.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

enum { CHUNK = 64 << 10, TABLE_MAX = 64 << 20 };

/* One file of /proc, whose size is not known before: mounts of other processes come and go between two reads, but
 * the kernel never cuts a line. */
static char *read_whole(const char *path, struct fp_error *error)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fp_fail(error, "open", path), NULL;
    char *text = NULL;
    for (size_t size = 0, room = 0;;) {
        if (room - size < CHUNK) {
            room = room ? 2 * room : 2 * CHUNK;
            char *larger = room > TABLE_MAX ? NULL : realloc(text, room);
            if (!larger) {
                free(text);
                return fp_fail_with(error, ENOMEM, "read", path), NULL;
            }
            text = larger;
        }
        ssize_t got = read(fd, text + size, room - size - 1);
        if (got > 0) {
            size += (size_t)got;
        } else if (got == 0) {
            text[size] = '\0';
            return text;
        } else if (errno != EINTR) {
            fp_fail(error, "read", path);
            free(text);
            return NULL;
        }
    }
}

int fp_mounts_init(struct fp_mounts *ret, struct fp_error *error)
{
    ret->text = ret->next = read_whole("/proc/self/mountinfo", error);
    return ret->text ? 0 : -1;
}

void fp_mounts_deinit(struct fp_mounts *mounts)
{
    free(mounts->text);
    mounts->text = mounts->next = NULL;
}

/* The kernel writes blank, tab, line end and backslash as three octal digits (mangle() in fs/seq_file.c). */
static void unescape(char *word)
{
    char *to = word;
    for (const char *from = word; *from;) {
        bool escaped = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                       from[3] >= '0' && from[3] <= '7';
        *to++ = escaped ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0')) : *from;
        from += escaped ? 4 : 1;
    }
    *to = '\0';
}

static const char *take_word(char **cursor)
{
    char *word = strsep(cursor, " ");
    if (word)
        unescape(word);
    return word;
}

bool fp_mount_parse(char *line, struct fp_mount *ret)
{
    int parent, end = 0;
    if (sscanf(line, "%d %d %u:%u %n", &ret->id, &parent, &ret->major, &ret->minor, &end) < 4 || !end)
        return false;
    char *cursor = line + end;
    ret->root = take_word(&cursor);
    ret->point = take_word(&cursor);
    ret->options = take_word(&cursor);
    const char *optional; /* shared:N, master:N ... up to a hyphen */
    do
        optional = take_word(&cursor);
    while (optional && strcmp(optional, "-") != 0);
    ret->type = take_word(&cursor);
    ret->source = take_word(&cursor);
    ret->super_options = take_word(&cursor);
    return ret->super_options != NULL;
}

bool fp_mounts_next(struct fp_mounts *mounts, struct fp_mount *ret)
{
    for (char *line; (line = strsep(&mounts->next, "\n"));)
        if (fp_mount_parse(line, ret))
            return true;
    return false;
}

static const struct {
    const char *name;
    unsigned long flag;
} flags[] = {
    {"rw", 0},
    {"ro", MS_RDONLY},
    {"nosuid", MS_NOSUID},
    {"nodev", MS_NODEV},
    {"noexec", MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC},
    {"mand", MS_MANDLOCK},
    {"noatime", MS_NOATIME},
    {"nodiratime", MS_NODIRATIME},
    {"relatime", MS_RELATIME},
    {"lazytime", 1ul << 25},   /* MS_LAZYTIME */
    {"nosymfollow", 1ul << 8}, /* MS_NOSYMFOLLOW */
    {"seclabel", 0},           /* of the security module, which says it but does not take it */
};

static bool take_flag(const char *option, size_t length, unsigned long *ret)
{
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
        if (strncmp(flags[i].name, option, length) == 0 && !flags[i].name[length]) {
            *ret |= flags[i].flag;
            return true;
        }
    return false;
}

unsigned long fp_mount_flags(const char *options, char *ret_rest)
{
    unsigned long found = 0;
    char *to = ret_rest;
    while (*options) {
        size_t length = strcspn(options, ",");
        bool more = options[length] != '\0';
        if (!take_flag(options, length, &found)) {
            if (to != ret_rest)
                *to++ = ',';
            memmove(to, options, length);
            to += length;
        }
        options += length + more;
    }
    *to = '\0';
    return found;
}
