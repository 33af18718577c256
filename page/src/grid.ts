// All cameras of all devices, by name.
import { h, put } from "./dom";
import { Tile } from "./tile";
import type { Device } from "./types";
import type { World } from "./world";

export class Grid {
  readonly element = h("ul", { class: "grid", "aria-label": "Cameras" });
  #tiles = new Map<string, Tile>();
  #eye = new IntersectionObserver(
    (entries) => {
      for (const e of entries) this.#byElement.get(e.target)?.see(e.isIntersecting);
    },
    { rootMargin: "120px" },
  );
  #byElement = new Map<Element, Tile>();
  #followed = new Map<string, () => void>();

  constructor(private readonly world: World) {
    world.devices.known.follow(() => {
      for (const [name, d] of world.devices.all) {
        if (!this.#followed.has(name)) this.#followed.set(name, d.follow(() => this.#arrange()));
      }
      for (const [name, forget] of this.#followed) {
        if (world.devices.all.has(name)) continue;
        forget();
        this.#followed.delete(name);
      }
      this.#arrange();
    });
  }

  // arrange brings the tiles in line with the devices; those that stay are not touched.
  #arrange() {
    const wanted: [string, string, string, boolean][] = [];
    for (const name of [...this.world.devices.all.keys()].sort()) {
      const cameras = camerasOf(this.world.devices.all.get(name)!.value);
      for (const camera of cameras) wanted.push([`${name}/${camera}`, name, camera, cameras.length === 1]);
    }
    const keys = new Set(wanted.map(([key]) => key));
    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      this.#eye.unobserve(tile.element);
      this.#byElement.delete(tile.element);
      this.#tiles.delete(key);
      tile.end();
    }
    let before: Element | null = null;
    for (const [key, name, camera, alone] of wanted.reverse()) {
      let tile = this.#tiles.get(key);
      if (!tile) {
        tile = new Tile(this.world, this.world.devices.all.get(name)!, camera, alone);
        this.#tiles.set(key, tile);
        this.#byElement.set(tile.element, tile);
        this.element.insertBefore(tile.element, before);
        this.#eye.observe(tile.element);
      } else if (tile.element.nextElementSibling !== before) {
        this.element.insertBefore(tile.element, before);
      }
      before = tile.element;
    }
    put(this.element, "data-few", wanted.length <= 4 ? String(wanted.length) : null);
  }

  tick() {
    for (const t of this.#tiles.values()) t.tick();
  }

  tile(device: string, camera: string): Tile | undefined {
    return this.#tiles.get(`${device}/${camera}`);
  }

  // order is that of the tiles, for going from one to the next.
  get order(): Tile[] {
    return [...this.element.children].map((e) => this.#byElement.get(e)!).filter(Boolean);
  }

  // move puts the focus on the tile in a direction.
  move(dx: number, dy: number) {
    const tiles = this.order;
    const at = tiles.findIndex((t) => t.link === document.activeElement);
    if (at < 0) return tiles[0]?.link.focus();
    let next = at + dx;
    if (dy !== 0) {
      const from = tiles[at]!.element.getBoundingClientRect();
      const rows = tiles.map((t, i) => ({ i, r: t.element.getBoundingClientRect() })).filter(({ r }) => (r.top - from.top) * dy > from.height / 2);
      const nearest = Math.min(...rows.map(({ r }) => Math.abs(r.top - from.top)));
      const row = rows.filter(({ r }) => Math.abs(Math.abs(r.top - from.top) - nearest) < 4);
      row.sort((a, b) => Math.abs(a.r.left - from.left) - Math.abs(b.r.left - from.left));
      if (!row[0]) return;
      next = row[0].i;
    }
    tiles[next]?.link.focus();
  }
}

// camerasOf is the cameras of a device; one without any has a place of its own, with no picture.
export function camerasOf(d: Device): string[] {
  return d.cameras?.length ? d.cameras.map((c) => c.name) : [""];
}
