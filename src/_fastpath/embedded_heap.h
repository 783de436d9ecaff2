/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of urunc-embedded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* From here on what is taken is part of the state, as long as that has room. */
void fp_heap_begin(void);

/* `size` bytes of whole pages, zeroes, for good; NULL without memory. */
void *fp_heap_pages(size_t size);

/* From here on it is not; false if the state had no room for all of it. */
bool fp_heap_end(void);
