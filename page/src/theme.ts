// Light, dark, or as the system has it.
import { h, put } from "./dom";

const CHOICES = ["", "light", "dark"] as const;
const NAMES = { "": "as the system", light: "light", dark: "dark" };
const SIGNS = { "": "◐", light: "○", dark: "●" };

export function theme(): HTMLElement {
  const root = document.documentElement;
  let now = CHOICES.find((c) => c === read()) ?? "";
  const button = h("button", { type: "button", class: "plain", click: () => set(CHOICES[(CHOICES.indexOf(now) + 1) % CHOICES.length]!) });
  const set = (c: (typeof CHOICES)[number]) => {
    now = c;
    put(root, "data-theme", c || null);
    button.textContent = SIGNS[c];
    put(button, "aria-label", `Colours: ${NAMES[c]}`);
    put(button, "title", `Colours: ${NAMES[c]}`);
    try {
      if (c) localStorage.setItem("theme", c);
      else localStorage.removeItem("theme");
    } catch {
      // where nothing may be kept, it is chosen each time
    }
  };
  set(now);
  return button;
}

function read(): string | null {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}
