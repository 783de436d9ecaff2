/* SPDX-License-Identifier: Apache-2.0 */
/* Brings a multiboot machine into the state in which the KVM probe starts its guest, then runs the probe's code.
 * BLOB: file with the code; ENTRY: offset of fp_kvm_kernel in it. */
    .code32
    .section .text
    .balign 4
    .long 0x1badb002, 0, -0x1badb002
    .globl _start
_start:
    cld
    mov $0x1000, %edi
    mov $0x1c00, %ecx
    xor %eax, %eax
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movl $0x83, 0x3000
    mov $blob, %esi
    mov $0x4000, %edi
    mov $(blob_end - blob), %ecx
    rep movsb
    mov $0x620, %eax
    mov %eax, %cr4
    mov $0x1000, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    mov $0x100, %eax
    xor %edx, %edx
    wrmsr
    mov $0x80010033, %eax
    mov %eax, %cr0
    lidt no_idt
    lgdt gdt_pointer
    ljmp $8, $long_mode
    .code64
long_mode:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    mov $0x8000, %esp
    mov $0x5000, %edi
    mov $1, %esi
    mov $(0x4000 + ENTRY), %eax
    jmp *%rax
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word 23
    .long gdt
no_idt:
    .word 0
    .quad 0
blob:
    .incbin BLOB
blob_end:
