// The page's whole framework: elements made of names, attributes and text. What comes from the network is only ever text:
// nothing here, or anywhere in the page, makes markup of a string, and the server's policy (Trusted Types) would stop it.

type Attributes = Record<string, string | number | boolean | null | undefined | ((e: never) => void)>;

function fill<E extends Element>(e: E, attributes: Attributes, children: (Node | string | null)[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") e.addEventListener(name, value as EventListener);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) e.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null) e.append(child);
  return e;
}

// h makes an element. An attribute that is a function listens to the event of its name.
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: (Node | string | null)[]) {
  return fill(document.createElement(tag), attributes, children);
}

// svg makes an element of a drawing.
export function svg<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: (Node | string | null)[]) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// say writes text where it differs: what has not changed costs no layout, and is not read out again.
export function say(e: Element, text: string) {
  if (e.textContent !== text) e.textContent = text;
}

// put sets an attribute, or takes it away for null and false.
export function put(e: Element, name: string, value: string | boolean | null) {
  const now = value === true ? "" : value;
  if (now === null || now === false) e.removeAttribute(name);
  else if (e.getAttribute(name) !== now) e.setAttribute(name, now);
}

// Signal is a value that others follow.
export class Signal<T> {
  #followers = new Set<(value: T) => void>();
  #value: T;
  constructor(value: T) {
    this.#value = value;
  }
  get value() {
    return this.#value;
  }
  set(value: T) {
    if (value !== this.#value) this.tell(value);
  }
  // tell tells all followers, also of a value that is the same as before.
  tell(value: T) {
    this.#value = value;
    for (const f of [...this.#followers]) f(value);
  }
  // follow calls f now and with each change, until what it returns is called.
  follow(f: (value: T) => void): () => void {
    this.#followers.add(f);
    f(this.#value);
    return () => void this.#followers.delete(f);
  }
}
