// Marks tables that go on to the right, so that nobody takes a cut column for the last; keys reach them too.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".content .table-wrapper > table").forEach((table) => {
    const tell = () => {
      const wide = table.scrollWidth > table.clientWidth + 1;
      table.parentElement.classList.toggle("goes-on", table.scrollLeft + table.clientWidth < table.scrollWidth - 1);
      if (wide) table.tabIndex = 0;
      else table.removeAttribute("tabindex");
    };
    table.addEventListener("scroll", tell, { passive: true });
    new ResizeObserver(tell).observe(table);
    tell();
  });
});
