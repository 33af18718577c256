package api

import (
	"log/slog"
	"time"
)

// Info is the answer of RouteInfo.
type Info struct {
	Device  string    `json:"device"`
	ID      string    `json:"id"`
	Boot    string    `json:"boot"`
	Rev     uint64    `json:"rev"` // of the advert
	Version string    `json:"version"`
	Started time.Time `json:"started"` // the agent
	At      time.Time `json:"at"`
	MonoNS  int64     `json:"mono_ns"`
	Synced  bool      `json:"synced"`

	OS     string `json:"os,omitempty"`
	Arch   string `json:"arch,omitempty"`
	Kernel string `json:"kernel,omitempty"`
	Model  string `json:"model,omitempty"` // of the board

	Dialect string            `json:"dialect,omitempty"`
	Resumes uint64            `json:"resumes"` // of the present session
	Drops   map[string]uint64 `json:"drops,omitempty"`
}

// ClockReply is the answer of RouteClock. It is short, because its round trip is what is measured.
type ClockReply struct {
	Boot   string    `json:"boot"`
	MonoNS int64     `json:"mono_ns"`
	At     time.Time `json:"at"`
	Synced bool      `json:"synced"`
}

// Health is the answer of RouteHealth.
type Health struct {
	OK    bool       `json:"ok"`
	Loops List[Loop] `json:"loops"`
	At    time.Time  `json:"at,omitzero"` // by the device's clock, as Last
}

// Loop is one of the things that have to go on.
type Loop struct {
	Name  string    `json:"name"`
	OK    bool      `json:"ok"`
	State string    `json:"state,omitempty"`
	Last  time.Time `json:"last,omitzero"` // when its state began
	Error string    `json:"error,omitempty"`
}

// LogLine is one item of RouteLogs.
type LogLine struct {
	At    time.Time      `json:"at"`
	Level slog.Level     `json:"level"`
	Text  string         `json:"text"`
	Attrs map[string]any `json:"attrs,omitempty"`
}
