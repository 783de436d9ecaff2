/* SPDX-License-Identifier: Apache-2.0 */
/* The frequency of the time stamp counter, for guests that are emulated and cannot measure it. */
#pragma once

/* kHz, measured for some 20 ms against CLOCK_MONOTONIC_RAW; 0 where the machine has no such counter. */
long fp_tsc_khz(void);
