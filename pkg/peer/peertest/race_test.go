//go:build race

package peertest_test

const raceDetector = true
