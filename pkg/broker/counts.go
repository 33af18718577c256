package broker

import "sync/atomic"

// count names something the broker counts.
type count int

const (
	sessionsAccepted count = iota
	sessionsRefused
	sessionsReplaced
	sessionsExpelled
	linksRefused
	websRefused
	opsRefused
	requests
	requestsParked
	refusedMalformed
	refusedUnknown
	refusedAway
	refusedRole
	refusedLimit
	refusedDraining
	endedDeviceLeft
	endedLaptopLeft
	endedBudget
	endedCredit
	endedIdle
	advertsRefused
	pushesRefused
	eventsMissed
	counts
)

// countInfo is how counters are called outside, in the words of Prometheus.
var countInfo = [counts]struct{ name, help string }{
	sessionsAccepted: {"sessions_accepted_total", "Sessions whose SETUP was accepted."},
	sessionsRefused:  {"sessions_refused_total", "SETUPs that were answered with an error."},
	sessionsReplaced: {"sessions_replaced_total", "Sessions that ended because the same device connected anew."},
	sessionsExpelled: {"sessions_expelled_total", "Sessions ended because their credentials do not count any more."},
	linksRefused:     {"links_refused_total", "Links closed at once because there are too many."},
	websRefused:      {"websockets_refused_total", "Connections to a port for WebSockets that did not become one: of another page or host, malformed, or something else."},
	opsRefused:       {"ops_refused_total", "Requests for metrics or status that came for another host."},
	requests:         {"requests_total", "Requests received."},
	requestsParked:   {"requests_parked_total", "Requests that waited for a device."},
	refusedMalformed: {"requests_malformed_total", "Requests refused as malformed."},
	refusedUnknown:   {"requests_unknown_device_total", "Requests refused because no such device is known."},
	refusedAway:      {"requests_away_device_total", "Requests refused because the device stayed away."},
	refusedRole:      {"requests_not_permitted_total", "Requests for routes that the requester's role may not ask for."},
	refusedLimit:     {"requests_over_limit_total", "Requests refused because of a limit."},
	refusedDraining:  {"requests_draining_total", "Requests refused because the broker is stopping."},
	endedDeviceLeft:  {"streams_device_left_total", "Streams that ended because the session that answered did."},
	endedLaptopLeft:  {"streams_requester_left_total", "Streams that ended because the session that asked did."},
	endedBudget:      {"streams_over_budget_total", "Streams ended because too much was waiting for their receiver."},
	endedCredit:      {"streams_credit_ignored_total", "Streams ended because their sender ignored the credit given."},
	endedIdle:        {"streams_half_dead_total", "Channels forgotten that were canceled and then said nothing more."},
	advertsRefused:   {"adverts_refused_total", "Adverts that were malformed or not the device's own."},
	pushesRefused:    {"pushes_refused_total", "METADATA_PUSHes without an address, or of who may not push."},
	eventsMissed:     {"watch_events_missed_total", "Events that watchers were too slow for."},
}

// counters counts.
type counters [counts]atomic.Uint64

func (c *counters) add(what count) { c[what].Add(1) }
