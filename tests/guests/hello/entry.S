/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways in: PVH (32-bit, ebx = hvm_start_info) and the 64-bit Linux entry (rsi = boot_params).
 * The guest runs in long mode: the 64-bit entry is there already, PVH has to climb. */
        .section .note.pvh, "a", @note
        .balign 4
        .long 4, 4, 18                  /* name, descriptor, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long pvh_start

        .section .text.entry, "ax"
        .code32
pvh_start:
        cli
        cld
        movl 0x18(%ebx), %esi           /* hvm_start_info.cmdline_paddr */
        movl $(pdpt + 3), pml4          /* present, writable */
        movl $(directory + 3), pdpt
        movl $directory, %edi
        movl $0x83, %eax                /* present, writable, 2 MiB: the first GiB onto itself */
        movl $512, %ecx
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b
        movl $pml4, %eax
        movl %eax, %cr3
        movl %cr4, %eax
        orl $0x20, %eax                 /* PAE */
        movl %eax, %cr4
        movl $0xc0000080, %ecx          /* EFER */
        rdmsr
        orl $0x100, %eax                /* LME */
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax           /* PG */
        movl %eax, %cr0
        lgdt gdt_pointer
        ljmp $0x08, $long_mode

        .code64
        .global linux64_start
linux64_start:
        cli
        cld
        movl 0x228(%rsi), %esi          /* boot_params.hdr.cmd_line_ptr */
long_mode:
        movl %esi, %edi
        movl $stack_top, %esp
        call guest_main
1:      cli
        hlt
        jmp 1b

        .section .data
        .balign 8
gdt:    .quad 0
        .quad 0x00af9b000000ffff        /* 0x08: code, 64-bit */
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long gdt

        .section .bss
        .balign 4096
pml4:   .skip 4096
pdpt:   .skip 4096
directory:
        .skip 4096
        .skip 4096
stack_top:
        .section .note.GNU-stack, "", @progbits
