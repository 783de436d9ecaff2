// SPDX-License-Identifier: Apache-2.0
// The life of a state directory, the working one, without a process: its record and journal written, read, undone and
// removed.  For valgrind, which knows neither pidfd_open(2) nor openat2(2).
#define _GNU_SOURCE
#include <string.h>
#include <sys/stat.h>

#include "directory.h"
#include "journal.h"
#include "state.h"

enum { MANY = 200 };

static void must_not_fail(int status, const struct fp_error *error)
{
    if (status < 0)
        fprintf(stderr, "%s: %s: %s\n", error->step, error->path, strerror(error->number));
    must(status >= 0, "it works");
}

static void write_and_read(int state_fd, enum fp_status status, const char *head, const char *tail)
{
    struct fp_error error = {0};
    struct fp_record written = {.status = status, .pid = 1, .start_time = 2, .flags = FP_FLAG_HOOKS};
    struct fp_state read;
    struct iovec pieces[FP_STATE_PIECES] = {{(char *)head, strlen(head)}, {(char *)tail, strlen(tail)}};
    written.head_size = (uint32_t)strlen(head);
    written.tail_size = (uint32_t)strlen(tail);
    must_not_fail(fp_state_write(state_fd, &written, pieces, &error), &error);
    must_not_fail(fp_state_read(state_fd, &read, &error), &error);
    must(read.record.status == status && read.record.pid == 1 && read.record.start_time == 2, "the same numbers");
    must(strncmp(read.text, head, strlen(head)) == 0 && strcmp(read.text + strlen(head), tail) == 0, "the same text");
    char *json = fp_state_json(&read, fp_state_status(&read), "");
    must(json && strstr(json, "\"status\": \""), "it is shown");
    free(json);
    fp_state_deinit(&read);
}

static void journal(int state_fd)
{
    static const char *const lines[][2] = {
        {"cgroup", "memory 2 /no/such/group"},
        {"cgroup", "cgroup2 1 /"},
        {"network", "eth0 tap0_urunc 1 1 1 /none"},
        {"rules", "1 1 1 /none"},
        {"snapshot", "/dev/null"},
        {"of another version", ""},
    };
    const size_t count = sizeof(lines) / sizeof(*lines);
    struct fp_error error = {0};
    struct fp_cgroup_list list;
    for (size_t i = 0; i < MANY; i++)
        must_not_fail(fp_journal_add(state_fd, lines[i % count][0], lines[i % count][1], &error), &error);
    must_not_fail(fp_cgroup_list_read(state_fd, &list, &error), &error);
    fp_cgroup_list_deinit(&list);
    must(fp_journal_add(state_fd, "network", "two\nlines", &error) < 0, "a line is one line");
    error = (struct fp_error){0};
    must_not_fail(fp_journal_undo(state_fd, &error), &error);
    must(faccessat(state_fd, FP_JOURNAL, F_OK, 0) < 0, "what was undone is not undone again");
    must_not_fail(fp_journal_undo(state_fd, &error), &error);
}

int main(void)
{
    struct fp_error error = {0};
    must(mkdirat(state_directory(), "c", 0700) == 0, "the directory is new");
    int state_fd = openat(state_directory(), "c", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int lock = fp_state_lock(state_directory(), "c", 0, &error);
    must_not_fail(lock, &error);
    for (int status = FP_CREATING; status <= FP_STOPPED; status++) {
        write_and_read(state_fd, (enum fp_status)status, "", "");
        write_and_read(state_fd, (enum fp_status)status, "{\"id\": \"c\",\n", "\"bundle\": \"/b\"}");
    }
    journal(state_fd);
    must_not_fail(fp_state_remove(state_directory(), "c", &error), &error);
    must(faccessat(state_directory(), "c", F_OK, 0) < 0, "nothing is left");
    close(state_fd);
    close(lock);
    printf("round\n");
    return 0;
}
