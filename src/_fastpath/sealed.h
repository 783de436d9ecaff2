/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a descriptor that nobody can change any more. */
#pragma once

#include "error.h"
#include <stdbool.h>

/* A sealed memfd with `size` bytes in it; executable if asked (vm.memfd_noexec). */
int fp_sealed_memfd(const char *name, const void *bytes, size_t size, bool executable, struct fp_error *error);
