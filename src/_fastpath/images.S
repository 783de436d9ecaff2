/* SPDX-License-Identifier: Apache-2.0 */
/* urunc-init, urunc-spt and uinit, stripped, as data: copied into sealed memfds and run from there, or into initrds. */
        .macro image name, file
        .section .rodata.fp_\name\()_image, "a", %progbits
        .balign 16
        .global fp_\name\()_image_start
        .hidden fp_\name\()_image_start
        .global fp_\name\()_image_end
        .hidden fp_\name\()_image_end
fp_\name\()_image_start:
        .incbin "\file"
fp_\name\()_image_end:
        .byte 0
        .endm

        image init, FP_INIT_IMAGE
        image spt, FP_SPT_IMAGE
        image uinit, FP_UINIT_IMAGE
        .section .note.GNU-stack, "", %progbits
