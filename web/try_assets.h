// The page "Try it in the browser" (server/try_api.h), and xterm.js with its style, which `make` takes from npm
// (web/package-lock.json): made part of the program when it is built. Each ends with a NUL byte.
#pragma once

extern const char try_assets_page[];   // try.html
extern const char try_assets_script[]; // try.js
extern const char try_assets_style[];  // try.css
extern const char try_assets_xterm[];  // "" in a build without npm: then there is nothing to try
extern const char try_assets_xterm_style[];
