// A kernel of a few instructions for tests of rondo-vmm: PVH, 32-bit. It writes its command line to COM1, then does what
// the first character says:
//   o power off · r reset by the keyboard controller · R reset by the ACPI register · P panic · t triple fault
//   w wait for the power button, then power off · s spin, counting dots · e echo what is typed; q then powers off
//   h halt for ever · b run into an address where nothing is, which KVM cannot
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
