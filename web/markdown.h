// Markdown for descriptions: a subset that cannot carry anything but text (TRUST T32).
//
//   # … ### heading        - item, * item, 1. item        ```  code, line by line, up to the next ```
//   **bold**   *emphasis*   `code`   [text](https://…)   \* stands for *   an empty line ends a paragraph
//
// There is no HTML, there are no images, and no lists in lists: what looks like one is text. Links are those that
// html_is_link accepts, and are marked so that they hand on nothing. Headings begin at <h3>, since they stand inside of
// a page.
#pragma once

#include "web/html.h"

// Appends the HTML of `text`, at most `room` bytes of it: whole blocks only. Returns 1 if blocks had to be left out,
// else 0; failures are in h->result. Time grows with the length of the text alone.
int markdown_render(struct html *h, struct slice text, size_t room);
