// The files of web/ that are no C, as they stand in the sources: made part of the program when it is built.
#pragma once

extern const char assets_style[];  // style.css; ends with a NUL byte
extern const char assets_script[]; // rondo.js; the same
extern const char assets_icon[];   // icon.svg; the same
