/* SPDX-License-Identifier: Apache-2.0 */
/* urunc-spt: runs one Solo5 guest of the spt kind in its own address space, behind a seccomp filter. */
#pragma once

#include <stdnoreturn.h>

#include "elf_solo5.h"

enum {
    SPT_LOW = 0x10000,       /* guest memory starts at 0, but the kernel maps nothing below vm.mmap_min_addr */
    SPT_BOOT_INFO = 0x11000, /* where the guest finds what spt_memory_boot() writes */
    SPT_CMDLINE_MAX = 8192,  /* bytes, NUL included */
    SPT_WORD_MAX = 40,       /* bytes of a text in spt_words, NUL included */
    SPT_SIGNALS = 32,        /* signal numbers below are those of faults */
    SPT_STATUS_ABORT = 255,  /* of a guest that aborts, and of nothing else that Solo5's bindings do */
};

struct spt {
    struct fp_solo5_guest guest;
    uint64_t memory; /* bytes, from address 0 */
    int epoll_fd;    /* with timer_fd and every net device in it */
    int timer_fd;
};

/* What is written to stderr while the filter is on: the only bytes that it lets pass there. */
struct spt_words {
    char hex[16][2]; /* digits */
    char fault[SPT_WORD_MAX], abort[SPT_WORD_MAX], call[SPT_WORD_MAX], at[SPT_WORD_MAX], instruction[SPT_WORD_MAX];
    char newline[2];
    char signals[SPT_SIGNALS][8]; /* by number: the names of faults, "" for any other signal */
    char end[SPT_WORD_MAX];       /* a write that starts at or before it ends within the struct */
};
extern const struct spt_words spt_words;

/* -1 and a sentence about `thing`; where errno says why, fp_fail() does. */
int spt_refuse(struct fp_error *error, const char *thing, const char *sentence);

/* Decimal digits and nothing else, for a number from `least` to `most`. */
bool spt_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret);

/* The value of `option`, made part of `entry`. */
typedef int spt_device_option(struct fp_solo5_entry *entry, const char *option, const char *value,
                              struct fp_error *error);
spt_device_option spt_net_attach, spt_set_mac, spt_block_attach, spt_set_sector_size;
int spt_devices_init(struct spt *spt, struct fp_error *error);

/* Map guest memory and load the image; nothing is executable before all of it has been read. */
int spt_memory_load(const struct spt *spt, int image, struct fp_error *error);
int spt_memory_boot(const struct spt *spt, char *const *args, struct fp_error *error);

/* From here on: the guest's system calls, on the guest's descriptors; faults and all other calls are caught. */
int spt_filter(const struct spt *spt, struct fp_error *error);

/* TERM, INT and HUP end the program with 128 + n, as pid 1 of a namespace too. */
void spt_catch_stop(void);
/* Faults and aborts are named on stderr. */
void spt_catch_faults(void);
noreturn void spt_enter(uint64_t entry, uint64_t stack, uint64_t boot_info);
