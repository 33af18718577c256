// Package e2e shows the main job on real input, as its users meet it: the agent's .deb on a virtual Pi (see vpi) with the
// kernel's own test camera, the broker and the CLI as processes on this machine.
//
// `make e2e` builds what the tests run and then runs them; they have the build tag e2e and take minutes. The tests without
// the tag are those of the checks themselves: each proves that it can fail.
package e2e
