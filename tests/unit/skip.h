// SKIP(reason): ends the test at hand as skipped. Use this, not cmocka's skip(), which knows no reasons and whose line
// "not ok N # SKIP NAME" TAP takes for a failure: the runner, tests/tap, makes TAP of what is printed here.
#pragma once

// Before it: <stdarg.h>, <stddef.h>, <stdint.h>, <setjmp.h>, <cmocka.h>.
#define SKIP(reason)                                                                                                   \
    do {                                                                                                               \
        print_message("# skip: %s\n", reason);                                                                         \
        skip();                                                                                                        \
    } while (0)
