"use strict";
const tip = document.getElementById("tip");
document.addEventListener("pointermove", (event) => {
  const mark = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute("data-tip");
  const x = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  const y = event.clientY - tip.offsetHeight - 10;
  tip.style.left = Math.max(8, x) + "px";
  tip.style.top = (y < 8 ? event.clientY + 18 : y) + "px";
});
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
