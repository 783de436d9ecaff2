/* SPDX-License-Identifier: Apache-2.0 */
/* The modules of the embedded interpreter, as ci/modules.py writes them. */
        .section .rodata.fp_modules_image, "a", %progbits
        .balign 16
        .global fp_modules_image_start
        .hidden fp_modules_image_start
        .global fp_modules_image_end
        .hidden fp_modules_image_end
fp_modules_image_start:
        .incbin FP_MODULES_IMAGE
fp_modules_image_end:
        .byte 0
        .section .note.GNU-stack, "", %progbits
