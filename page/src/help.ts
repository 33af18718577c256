// What the keys do.
import { h } from "./dom";

const KEYS: [string[], string][] = [
  [["←", "→", "↑", "↓"], "go from camera to camera"],
  [["Enter"], "make one large"],
  [["Esc"], "go back to all of them"],
  [["S"], "save the picture"],
  [["F"], "full screen"],
  [["?"], "this list"],
];

export class Help {
  readonly element = h(
    "dialog",
    { class: "help", "aria-labelledby": "help-title" },
    h("h2", { id: "help-title" }, "Keys"),
    h("dl", {}, ...KEYS.flatMap(([keys, what]) => [h("dt", {}, ...keys.map((k) => h("kbd", {}, k))), h("dd", {}, what)])),
    h("p", { class: "hint" }, "The age of a picture is measured: how long ago the camera took it, by the device’s own clock."),
    h("form", { method: "dialog" }, h("button", {}, "Close"), h("a", { class: "plain", href: "licences.txt", target: "_blank", rel: "noopener" }, "Licences")),
  );

  constructor() {
    this.element.addEventListener("click", (e) => {
      if (e.target === this.element) this.element.close(); // beside it
    });
    this.element.addEventListener("keydown", (e) => {
      if (e.key === "?") this.element.close();
    });
  }

  toggle() {
    if (this.element.open) this.element.close();
    else this.element.showModal();
  }
}
