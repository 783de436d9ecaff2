/* SPDX-License-Identifier: Apache-2.0 */
/* The modules of the embedded interpreter, as ci/modules.py writes them. */
        .section .rodata.fp_modules_image, "a", %progbits
        .balign 16
        .global fp_modules_image_start
        .hidden fp_modules_image_start
fp_modules_image_start:
        .incbin FP_MODULES_IMAGE
        .section .note.GNU-stack, "", %progbits
