// Package interop shows that Perch talks with RSocket as others write it: rsocket-js, rsocket-java, rsocket-go, and the
// brokers that exist. `make interop` installs what those need and runs the tests here, which have the build tag interop.
//
//	talk.go      the conversation: everything a requester can ask, and its answers. js/peer.js and java/peer say the same lines
//	relay.go     a TCP proxy that cuts links at any byte and writes down every frame that crosses it
//	foreign.go   a peer of another language as a process that obeys one line at a time
//	table.go     what was run against what, for docs/PROTOCOL.md
//
// The peers' own faults that a test met are stated where it meets them, each with what was seen on the wire. A Java artifact
// that cannot be resolved is skipped by its coordinate with the resolver's own words; nothing else is ever skipped.
package interop
