// A kernel of a few instructions for tests of rondo-vmm: PVH, 32-bit. It writes its command line to COM1, then does what
// the first character says:
//   o power off · r reset by the keyboard controller · R reset by the ACPI register · P panic · t triple fault
//   w wait for the power button, then power off · s spin, counting dots · e echo what is typed; q then powers off
//   h halt for ever · b run into an address where nothing is, which KVM cannot
//   p read and write every port in every width · m the same with memory where there is no RAM; then say "survived" and power off
//     (but those that reset, switch off or panic, and the interrupt controllers)
        .section .note.pvh, "a", @note
        .long 4, 4, 18
        .asciz "Xen"
        .long begin

        .text
        .code32
        .globl begin
begin:  mov $0x9f000, %esp
        mov 24(%ebx), %esi
1:      lodsb
        test %al, %al
        jz 2f
        call put
        jmp 1b
2:      mov 24(%ebx), %esi
        mov (%esi), %bl
        cmp $'o', %bl
        je off
        cmp $'r', %bl
        je reset
        cmp $'R', %bl
        je acpi_reset
        cmp $'P', %bl
        je panic
        cmp $'t', %bl
        je fault
        cmp $'w', %bl
        je button
        cmp $'s', %bl
        je spin
        cmp $'e', %bl
        je echo
        cmp $'b', %bl
        je nowhere
        cmp $'p', %bl
        je ports
        cmp $'m', %bl
        je memory
halt:   hlt
        jmp halt

put:    mov $0x3f8, %edx
        out %al, %dx
        ret
off:    mov $0x600, %edx
        mov $0x34, %al
        out %al, %dx
        jmp halt
reset:  mov $0xfe, %al
        out %al, $0x64
        jmp halt
acpi_reset:
        mov $0x602, %edx
        mov $1, %al
        out %al, %dx
        jmp halt
panic:  mov $0x505, %edx
        mov $1, %al
        out %al, %dx
        jmp halt
fault:  ud2
nowhere:mov $0xd0000000, %eax
        jmp *%eax
button: mov $0x603, %edx
        in %dx, %al
        test $1, %al
        jz button
        jmp off
spin:   mov $'.', %al
        call put
        jmp spin
echo:   mov $0x3fd, %edx
        in %dx, %al
        test $1, %al
        jz echo
        mov $0x3f8, %edx
        in %dx, %al
        call put
        cmp $'q', %al
        je off
        jmp echo

// The next number of a series, in %eax and %ebx.
random: imul $1103515245, %ebx
        add $12345, %ebx
        mov %ebx, %eax
        ror $7, %eax
        ret

ports:  xor %ecx, %ecx
1:      cmp $0x64, %ecx
        je 2f
        cmp $0x92, %ecx
        je 2f
        cmp $0x505, %ecx
        je 2f
        cmp $0x600, %ecx
        jb 3f
        cmp $0x603, %ecx
        jbe 2f
3:      mov %ecx, %edx
        call random
        out %al, %dx
        call random
        out %ax, %dx
        call random
        out %eax, %dx
        in %dx, %al
        in %dx, %ax
        in %dx, %eax
2:      inc %ecx
        cmp $0x10000, %ecx
        jne 1b
        jmp survived

// Every %ecx bytes of [%edi, %esi).
sweep:  call random
        mov %al, (%edi)
        call random
        mov %ax, (%edi)
        call random
        mov %eax, (%edi)
        mov (%edi), %al
        mov (%edi), %ax
        mov (%edi), %eax
        add %ecx, %edi
        cmp %esi, %edi
        jb sweep
        ret

memory: mov $0xc0000000, %edi   // the whole window, sparsely
        mov $0xfec00000, %esi
        mov $65537, %ecx
        call sweep
        mov $0xe0000000, %edi   // configuration space: this moves the BARs about
        mov $0xe0040000, %esi
        mov $37, %ecx
        call sweep
        mov $0xc0000000, %edi   // where the BARs were
        mov $0xc0020000, %esi
        mov $13, %ecx
        call sweep
        mov $0xfef00000, %edi
        mov $0xffffe000, %esi   // the sums must not wrap
        mov $4099, %ecx
        call sweep

survived:                       // on a serial port that is in no loop and has no other registers there
        mov $0x3fb, %edx
        xor %eax, %eax
        out %al, %dx
        inc %edx
        out %al, %dx
        mov $text, %esi
4:      lodsb
        test %al, %al
        jz off
        call put
        jmp 4b
text:   .asciz "survived"
