/*
 * Entries of the hello guest.  Both end in the same C function, compiled once for each width (see hello.c):
 *   start32  PVH (xen/include/public/arch-x86/hvm/start_info.h): 32-bit protected mode, flat segments, no paging,
 *            ebx = hvm_start_info.  QEMU, cloud-hypervisor, Firecracker from 1.12.
 *   start64  the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst): long mode, identity-mapped,
 *            rsi = boot_params.  Older Firecracker, which jumps to the ELF's entry.
 * Neither changes the mode: nested KVMs that emulate ring 0 are at their weakest there.
 */

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define HVM_START_INFO_CMDLINE 0x18
#define BOOT_PARAMS_CMDLINE 0x228

	.section .note.pvh, "a", @note
	.balign 4
	.long 2f - 1f			/* size of the name */
	.long 4f - 3f			/* size of the value: QEMU reads 8 bytes from a 64-bit ELF */
	.long XEN_ELFNOTE_PHYS32_ENTRY
1:	.asciz "Xen"
2:	.balign 4
3:	.quad start32
4:

	.section .text.start, "ax", @progbits
	.code32
	.globl start32
start32:
	cli
	cld
	movl $stack_top, %esp
	xorl %ebp, %ebp
	pushl HVM_START_INFO_CMDLINE(%ebx)	/* the lower half: below 4 GiB in this mode */
	call hello32

	.code64
	.globl start64
start64:
	cli
	cld
	movl $stack_top, %esp
	xorl %ebp, %ebp
	movl BOOT_PARAMS_CMDLINE(%rsi), %edi
	call hello64

	.bss
	.balign 16
	.skip 4096
stack_top:

	.section .note.GNU-stack, "", @progbits
