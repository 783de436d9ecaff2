// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as a plan, a record or a journal: core KIND SECONDS SEED DIRECTORY FILE... mutates the files for
// some seconds.  A journal is undone for real, in a directory of the caller's, so what is tried has no effect but on it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "plan.h"
#include "state.h"

enum { SIZE_MAX_FUZZED = 1 << 16 };

static int directory;
static uint64_t state;

static void must(int holds, const char *promise)
{
    if (!holds) {
        fprintf(stderr, "broken promise: %s\n", promise);
        abort();
    }
}

static void put(const char *name, const uint8_t *data, size_t size)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size, "the file can be written");
    close(fd);
}

static void try_plan(const uint8_t *data, size_t size)
{
    struct fp_error error = {0};
    struct fp_plan plan;
    struct fp_operation operation;
    uint64_t *aligned = malloc(size + 8); /* of its exact size, for the sanitizer */
    uint32_t count = 0;
    memcpy(aligned, data, size);
    if (fp_plan_open(aligned, size, &plan, &error) == 0) {
        for (uint32_t offset = 0; fp_plan_next(&plan, &offset, &operation); count++) {
            const char *signature = fp_operation_table[operation.code].signature;
            for (int i = 0; signature[i]; i++) {
                if (signature[i] == 's')
                    must(strlen(operation.arguments[i].text) == operation.arguments[i].length, "strings end");
                if (signature[i] != 'v')
                    continue;
                const char **words = calloc(operation.arguments[i].count + 1, sizeof(*words));
                fp_vector(&operation.arguments[i], words);
                for (uint64_t j = 0; j < operation.arguments[i].count; j++)
                    must(strlen(words[j]) < size, "words are in the plan");
                free(words);
            }
        }
        must(count == plan.count, "every operation is given once");
    } else {
        must(error.number != 0, "failure has an errno");
    }
    free(aligned);
}

static void try_record(const uint8_t *data, size_t size)
{
    struct fp_error error = {0};
    struct fp_state read;
    put("record", data, size);
    if (fp_state_read(directory, &read, &error) < 0) {
        must(error.number != 0, "failure has an errno");
        return;
    }
    char *text = fp_state_json(&read, fp_state_status(&read));
    must(text && strlen(text) <= size + 128, "the text is of the record's size");
    free(text);
    fp_state_deinit(&read);
}

static void try_journal(const uint8_t *data, size_t size)
{
    struct fp_error error = {0};
    put("journal", data, size);
    fp_journal_undo(directory, &error);
}

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static size_t mutate(uint8_t *data, size_t size)
{
    static const uint64_t hurts[] = {0, 1, 7, 8, 0xff, 0xffff, 0x10000, 0x7fffffff, 0xffffffff, ~0ull >> 1, ~0ull};
    static const char *const words[] = {"\n", " ", "-1 ", "/", "..", "process ", "network ", "cgroup ", "0 ", "%n"};
    for (uint64_t changes = draw(6) + 1; changes > 0 && size > 16; changes--) {
        size_t at = draw(size - 8), from = draw(size - 8);
        const char *word = words[draw(sizeof(words) / sizeof(*words))];
        uint64_t value = hurts[draw(sizeof(hurts) / sizeof(*hurts))];
        switch (draw(6)) {
        case 0:
            data[at] ^= (uint8_t)(1u << draw(8));
            break;
        case 1:
            memmove(data + at, data + from, 8);
            break;
        case 2:
            size = draw(4) ? size : 1 + draw(size);
            break;
        case 3:
            memcpy(data + at, word, strlen(word) < 8 ? strlen(word) : 8);
            break;
        default:
            memcpy(data + at, &value, (size_t)1 << draw(4));
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t seeds[64][SIZE_MAX_FUZZED], data[SIZE_MAX_FUZZED + 8];
    size_t sizes[64], count = 0, runs = 0;
    if (argc < 6)
        return 2;
    void (*one)(const uint8_t *, size_t) = strcmp(argv[1], "plan") == 0     ? try_plan
                                           : strcmp(argv[1], "record") == 0 ? try_record
                                                                            : try_journal;
    time_t end = time(NULL) + atoi(argv[2]);
    state = strtoull(argv[3], NULL, 10) * 2 + 1;
    directory = open(argv[4], O_RDONLY | O_DIRECTORY);
    for (int i = 5; i < argc && count < 64; i++, count++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file)
            return 2;
        sizes[count] = fread(seeds[count], 1, SIZE_MAX_FUZZED, file);
        fclose(file);
        one(seeds[count], sizes[count]);
    }
    for (; runs % 64 || time(NULL) < end; runs++) {
        size_t seed = draw(count);
        memcpy(data, seeds[seed], sizes[seed]);
        one(data, mutate(data, sizes[seed]));
    }
    printf("%zu runs\n", runs);
    return 0;
}
