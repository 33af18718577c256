// The laptop's own link to the broker, of which perch view tells.
import { Follow, json, type Link } from "./net";

export function watchLaptop(link: Link, tell: (up: boolean) => void) {
  const watch = new Follow(link, (take) => link.stream("view.link", "", {}, 4, take), {
    next(p) {
      watch.stream?.request(1);
      tell(json<{ up: boolean }>(p).up);
    },
  });
  watch.want(true);
}
