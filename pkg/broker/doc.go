// Package broker is the middle of Perch: devices connect to it and stay, laptops connect to it and ask,
// and it carries what they say to one another.
//
// It is a switch of frames. Of a request only the first frame is looked into, for its address; from
// there on frames go from one session to the other as they came, fragments included, with nothing
// changed but their stream id:
//
//	laptop                       broker                        device
//	  SETUP ────────────────────▶                                │
//	  │                          ◀──────────────── SETUP (name, id, what it offers)
//	  REQUEST_STREAM n=1000 ────▶ whose address is it?           │
//	  │                           REQUEST_STREAM n=2 ──────────▶ │
//	  │ ◀──────────────── PAYLOAD ◀────────────────────── PAYLOAD│
//	  │                           REQUEST_N 1 ─────────────────▶ │    as payloads leave for the laptop
//	  CANCEL ───────────────────▶ CANCEL ──────────────────────▶ │
//
// Four rooms:
//
//   - the switch: leg (one session), route (one stream across two of them), credit (its pace), parked (a
//     request for a device that is away)
//   - the registry: which devices there are, found by name or tag, told to watchers as it changes
//   - the console: the routes of the broker itself, broker.devices, broker.watch and broker.info
//   - admission: who may connect, and as what
//
// What it promises: a device that answers is never held up by a laptop that does not read, as credit is
// passed on only as its answers leave, and what waits for one laptop is bounded in bytes. When one end
// of a stream goes, the other is told, also in the middle of a payload. A device is its name and its
// id: when it comes back after a power cut its new session takes the place of the dead one at once.
//
// Locks are taken in the order route, leg, registry; a session's own lock comes last, and a session never calls
// with it held. No lock is held while a session is flushed.
package broker
