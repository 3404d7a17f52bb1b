"use strict";
// One clip at a time, a line that runs along its pictures, and keys: 1 to 9 play the systems of a sentence.
const clips = [...document.querySelectorAll("audio")];
let current = document.querySelector(".sentence");

function follow(clip) {
  const line = clip.closest(".card").querySelector(".playhead");
  line.style.setProperty("--at", `${(100 * clip.currentTime) / (clip.duration || 1)}%`);
  line.classList.toggle("on", !clip.paused || clip.currentTime > 0);
  if (!clip.paused) requestAnimationFrame(() => follow(clip));
}

for (const clip of clips) {
  clip.addEventListener("play", () => {
    for (const other of clips) if (other !== clip) other.pause();
    current = clip.closest(".sentence");
    clip.classList.add("on");
    follow(clip);
  });
  clip.addEventListener("pause", () => clip.classList.remove("on"));
  clip.addEventListener("seeked", () => follow(clip));
}

for (const sentence of document.querySelectorAll(".sentence")) {
  sentence.addEventListener("focusin", () => { current = sentence; });
  sentence.addEventListener("pointerdown", () => { current = sentence; });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !/^[1-9]$/.test(event.key) || !current) return;
  const clip = current.querySelectorAll("audio")[Number(event.key) - 1];
  if (!clip) return;
  event.preventDefault();
  if (!clip.paused) return clip.pause();
  clip.currentTime = 0;
  clip.play();
});

document.querySelector("#only-run")?.addEventListener("change", (event) => {
  document.querySelector("#tables").classList.toggle("only-run", event.target.checked);
});

document.querySelector("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = dark ? "light" : "dark";
});
