// See try_assets.h. The assembler takes the files in; it looks for them where make runs.
#include "web/try_assets.h"

#define FILE_AS(name, file) ".global " name "\n" name ":\n.incbin \"" file "\"\n.byte 0\n"

__asm__(".section .rodata\n" FILE_AS("try_assets_page", "web/try.html") FILE_AS("try_assets_script", "web/try.js")
            FILE_AS("try_assets_style", "web/try.css") FILE_AS("try_assets_xterm", RONDO_XTERM "/xterm.js")
                FILE_AS("try_assets_xterm_style", RONDO_XTERM "/xterm.css") ".previous\n");
