// SPDX-License-Identifier: Apache-2.0
// The command lines that the front reads: a part of what arguments.py reads, and never in another way.
#include "front.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_ROOT "/run/urunc"
enum { ID_MAX = 255, WORDS_MAX = 2, SIGTERM_NUMBER = 15, SIGNAL_MAX = 64 };

/* An option: a flag if it has `flag`, else it takes a text. */
struct option {
    const char *name, *short_name;
    bool *flag;
    const char **text;
};

static bool parse_flag(const char *value, bool *ret)
{
    static const char *const names[] = {"1", "t", "T", "true",  "TRUE",  "True",
                                        "0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(value, names[i]) == 0) {
            *ret = i < sizeof(names) / sizeof(*names) / 2;
            return true;
        }
    return false;
}

static bool is_called(const char *given, size_t length, const char *name)
{
    return name && strlen(name) == length && memcmp(given, name, length) == 0;
}

/* The option that **at names, with its value; *at is moved to its last word. */
static bool take_option(char *const **at, const struct option *options, size_t count)
{
    const char *given = **at + 1;
    given += *given == '-';
    const char *equals = strchr(given, '=');
    size_t length = equals ? (size_t)(equals - given) : strlen(given);
    for (size_t i = 0; i < count; i++) {
        const struct option *option = &options[i];
        if (!is_called(given, length, option->name) && !is_called(given, length, option->short_name))
            continue;
        if (option->flag)
            return parse_flag(equals ? equals + 1 : "true", option->flag);
        if (!equals && !*++*at)
            return false;
        *option->text = equals ? equals + 1 : **at;
        return true;
    }
    return false;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* `*ret_plain`: without the options that a create, but not the other verbs, depends on; `*ret_traced`: nothing is
 * served here that writes a trace. */
static char *const *global_options(char *const *at, struct fp_command *ret, bool *ret_plain, bool *ret_traced)
{
    bool debug = false, systemd_cgroup = false;
    const char *trace = NULL;
    const struct option options[] = {
        {.name = "root", .text = &ret->root}, {.name = "log", .text = &ret->log},
        {.name = "trace", .text = &trace},    {.name = "log-format", .text = &ret->log_format},
        {.name = "debug", .flag = &debug},    {.name = "systemd-cgroup", .flag = &systemd_cgroup},
    };
    for (; *at && is_option(*at); at++)
        if (!take_option(&at, options, sizeof(options) / sizeof(*options)))
            return NULL;
    *ret_traced = trace != NULL;
    *ret_plain = !debug && !systemd_cgroup;
    return strcmp(ret->log_format, "text") == 0 || strcmp(ret->log_format, "json") == 0 ? at : NULL;
}

/* `kill ID -9` is no option. */
static bool is_negative(const char *word)
{
    return word[0] == '-' && word[1] && strspn(word + 1, "0123456789") == strlen(word + 1);
}

/* Options and other words may be mixed; `words` has room for WORDS_MAX. */
static int verb_words(char *const *at, const struct option *options, size_t option_count, const char **words)
{
    int count = 0;
    bool only_words = false;
    for (; *at; at++) {
        if (!only_words && strcmp(*at, "--") == 0) {
            only_words = true;
        } else if (!only_words && is_option(*at) && !(count && is_negative(*at))) {
            if (!take_option(&at, options, option_count))
                return -1;
        } else if (count == WORDS_MAX) {
            return -1;
        } else {
            words[count++] = *at;
        }
    }
    return count;
}

static int parse_signal(const char *text)
{
    static const char *const names[] = {
        "",     "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
        "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
        "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS",
    };
    size_t length = strlen(text);
    if (length && length <= 2 && strspn(text, "0123456789") == length) {
        int number = text[1] ? 10 * (text[0] - '0') + text[1] - '0' : text[0] - '0';
        return number <= SIGNAL_MAX ? number : -1;
    }
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (int number = 1; number < (int)(sizeof(names) / sizeof(*names)); number++)
        if (strcasecmp(text, names[number]) == 0)
            return number;
    return -1;
}

static bool is_id(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-";
    size_t length = strlen(text);
    return length && length <= ID_MAX && strspn(text, allowed) == length && strcmp(text, ".") && strcmp(text, "..");
}

/* abspath() in Python takes `..` for a word, the kernel for a directory's parent: only what is the same in both. */
static bool has_parent(const char *path)
{
    size_t length = strlen(path);
    return strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 || strstr(path, "/../") ||
           (length >= 3 && strcmp(path + length - 3, "/..") == 0);
}

bool fp_front_parse(char *const *argv, struct fp_command *ret)
{
    static const char *const verbs[] = {[FP_VERB_START] = "start",
                                        [FP_VERB_STATE] = "state",
                                        [FP_VERB_KILL] = "kill",
                                        [FP_VERB_DELETE] = "delete",
                                        [FP_VERB_CREATE] = "create"};
    bool plain, traced, no_pivot;
    const struct option options[] = {
        [FP_VERB_KILL] = {.name = "all", .short_name = "a", .flag = &ret->all},
        [FP_VERB_DELETE] = {.name = "force", .short_name = "f", .flag = &ret->force},
        [FP_VERB_CREATE] = {.name = "bundle", .short_name = "b", .text = &ret->bundle},
        {.name = "pid-file", .text = &ret->pid_file},
        {.name = "console-socket", .text = &ret->console_socket},
        {.name = "no-pivot", .flag = &no_pivot}, /* there is nothing that it could change */
    };
    *ret = (struct fp_command){.root = DEFAULT_ROOT, .signal = SIGTERM_NUMBER, .log_format = "text"};
    char *const *at = *argv ? global_options(argv + 1, ret, &plain, &traced) : NULL;
    if (!at || !*at || ret->root[0] != '/' || has_parent(ret->root))
        return false;
    for (int verb = FP_VERB_START; verb <= FP_VERB_CREATE; verb++)
        if (strcmp(*at, verbs[verb]) == 0)
            ret->verb = (enum fp_verb)verb;
    if (ret->verb == FP_VERB_OTHER || traced || (ret->verb == FP_VERB_CREATE && !plain))
        return false;
    size_t option_count = ret->verb == FP_VERB_CREATE                                ? 4
                          : ret->verb == FP_VERB_KILL || ret->verb == FP_VERB_DELETE ? 1
                                                                                     : 0;
    const char *words[WORDS_MAX];
    int count = verb_words(at + 1, &options[ret->verb], option_count, words);
    if (count < 1 || (count > 1 && ret->verb != FP_VERB_KILL) || !is_id(words[0]))
        return false;
    if ((ret->bundle && has_parent(ret->bundle)) || (ret->pid_file && has_parent(ret->pid_file)))
        return false;
    ret->id = words[0];
    if (count > 1)
        ret->signal = parse_signal(words[1]);
    return ret->signal >= 0;
}
