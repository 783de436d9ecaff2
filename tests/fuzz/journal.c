// SPDX-License-Identifier: Apache-2.0
// Any bytes at all as a journal in the working directory, undone for real: only to be run in the cage of fuzzers.py.
#include "journal.h"

#include "directory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fp_error error = {0};
    put(FP_JOURNAL, data, size);
    if (fp_journal_undo(state_directory(), &error) < 0)
        must(error.number != 0 && error.step[0], "failure says why");
    else
        must(faccessat(state_directory(), FP_JOURNAL, F_OK, 0) < 0, "what was undone is not undone again");
    return 0;
}
