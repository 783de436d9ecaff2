/*
 * A multiboot guest (multiboot specification 0.6.96, 3.1: header with addresses) that says "ready" and then does one
 * thing, as the macro ACTION says:
 *   EXIT   writes CODE to an isa-debug-exit device at PORT
 *   HALT   halts with interrupts off, for ever: how Rumprun ends
 *   SLEEP  halts with interrupts on, for ever, and none comes: the other way that Rumprun ends
 *   TICK   halts with interrupts on, and the timer's come: a guest that has nothing to do
 *   BUTTON waits for the power button (ACPI's PM1 event block, where QEMU's firmware puts it), and resets the machine
 *   RESET  resets the machine, which QEMU with -no-reboot ends for with status 0
 *   NIC    writes CODE like EXIT if PCI bus 0 has a virtio-net device (1af4:1041), else CODE + 1
 */

#define MAGIC 0x1badb002
#define FLAGS 0x00010000
#define SERIAL 0x3f8
#define LOAD 0x100000

	.section .text, "awx", @progbits
	.code32
	.globl _start
header:
	.long MAGIC, FLAGS, -(MAGIC + FLAGS)
	.long header, header, 0, 0, _start	/* header, load from, load to (0: the whole file), bss, entry */

_start:
	cld
	movl $text, %esi
	movw $SERIAL, %dx
1:	lodsb
	testb %al, %al
	jz 2f
	outb %al, %dx
	jmp 1b
2:
#if ACTION == 1
	movw $CODE, %ax
	movw $PORT, %dx
	outw %ax, %dx
#elif ACTION == 6
	movl $0x80000000, %ecx		/* configuration mechanism 1: bus 0, slot 0, register 0 */
5:	movl %ecx, %eax
	movw $0xcf8, %dx
	outl %eax, %dx
	movw $0xcfc, %dx
	inl %dx, %eax
	movw $CODE, %bx
	cmpl $0x10411af4, %eax
	je 6f
	addl $0x800, %ecx		/* next slot */
	cmpl $0x80010000, %ecx
	jb 5b
	incw %bx
6:	movw %bx, %ax
	movw $PORT, %dx
	outw %ax, %dx
#elif ACTION == 2
	cli
#elif ACTION == 7
	movl $top, %esp
	lgdt segments
	movl $handler, %eax
	movw %ax, gates + 64		/* of vector 8: IRQ 0, where the firmware left it */
	movw $8, gates + 66
	movw $0x8e00, gates + 68	/* a 32-bit interrupt gate */
	shrl $16, %eax
	movw %ax, gates + 70
	lidt vectors
	movb $0xfe, %al			/* the timer alone */
	outb %al, $0x21
	movb $0xff, %al
	outb %al, $0xa1
	sti
#elif ACTION == 3
	movb $0xff, %al			/* both interrupt controllers masked */
	outb %al, $0x21
	outb %al, $0xa1
	lidt table
	sti
#else
#if ACTION == 5
	movw $0x100, %ax
	movw $0x602, %dx		/* enable: power button */
	outw %ax, %dx
	movw $0x600, %dx		/* status */
4:	inw %dx, %ax
	testw $0x100, %ax
	jz 4b
#endif
	movb $0xfe, %al
	outb %al, $0x64
#endif
3:	hlt
	jmp 3b

handler:
	incl %ebx
	movb $0x20, %al
	outb %al, $0x20
	iret

text:	.asciz "ready\n"
	.balign 8
flat:	.quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
segments: .word 23
	.long flat
gates:	.fill 9, 8, 0
vectors: .word 71
	.long gates
	.balign 16
	.fill 256, 1, 0
top:
table:	.word 0
	.long 0
	.section .note.GNU-stack, "", @progbits
