// See assets.h. The assembler takes the files in; it looks for them where make runs.
#include "web/assets.h"

__asm__(".section .rodata\n"
        ".global assets_style\n"
        "assets_style:\n"
        ".incbin \"web/style.css\"\n"
        ".byte 0\n"
        ".global assets_script\n"
        "assets_script:\n"
        ".incbin \"web/rondo.js\"\n"
        ".byte 0\n"
        ".global assets_icon\n"
        "assets_icon:\n"
        ".incbin \"web/icon.svg\"\n"
        ".byte 0\n"
        ".previous\n");
