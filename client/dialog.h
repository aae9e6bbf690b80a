// A question to somebody who sits at a display but has no terminal: by zenity, kdialog or xmessage, whichever there is.
#pragma once

#include "base/error.h"

struct dialog; // one of these programs
// NULL: there is no display, or none of them is installed.
const struct dialog *dialog_find(void);

// Shows the text; 1 if the user chose `yes`, 0 for anything else (the window was closed, the program failed).
int dialog_ask(const struct dialog *d, const char *text, const char *yes, struct error *error);
// Shows the text until the user has read it. What fails is not told: there is nobody to tell.
void dialog_tell(const struct dialog *d, const char *text);
