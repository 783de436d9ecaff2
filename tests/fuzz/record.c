// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as the record of a container, in the working directory: refused, or shown, and written as they were.
#define _GNU_SOURCE
#include "state.h"

#include <string.h>

#include "directory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fp_error error = {0};
    struct fp_state read, again;
    put("record", data, size);
    if (fp_state_read(state_directory(), &read, &error) < 0) {
        must(error.number != 0 && error.step[0], "failure says why");
        return 0;
    }
    char *text = fp_state_json(&read, fp_state_status(&read), "");
    must(text && strlen(text) <= size + 128, "the text is of the record's size");
    free(text);
    struct iovec pieces[FP_STATE_PIECES] = {{read.text, read.record.head_size},
                                            {read.text + read.record.head_size, read.record.tail_size}};
    must(fp_state_write(state_directory(), &read.record, pieces, &error) == 0, "what was read can be written");
    must(fp_state_read(state_directory(), &again, &error) == 0, "and read again");
    read.record.version = again.record.version; /* an older one is written as one of today */
    must(memcmp(&read.record, &again.record, sizeof(read.record)) == 0, "it is the same record");
    must(memcmp(read.text, again.text, (size_t)read.record.head_size + read.record.tail_size) == 0, "and text");
    fp_state_deinit(&read);
    fp_state_deinit(&again);
    return 0;
}
