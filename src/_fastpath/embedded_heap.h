/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of urunc-embedded. */
#pragma once

#include <stddef.h>

/* From here on what is taken is part of the state, as long as that has room. */
void fp_heap_begin(void);

/* `size` bytes of whole pages, zeroes, for good; NULL without memory. */
void *fp_heap_pages(size_t size);

/* How much room the state has left; 0 if more has been taken than that. */
size_t fp_heap_left(void);
