/* SPDX-License-Identifier: Apache-2.0 */
/* urunc-init, stripped, as data: execute.c copies it into a sealed memfd. */
        .section .rodata.fp_init_image, "a", %progbits
        .balign 16
        .global fp_init_image_start
        .hidden fp_init_image_start
        .global fp_init_image_end
        .hidden fp_init_image_end
fp_init_image_start:
        .incbin FP_INIT_IMAGE
fp_init_image_end:
        .byte 0
        .section .note.GNU-stack, "", %progbits
