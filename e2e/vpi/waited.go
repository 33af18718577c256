package vpi

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Waited is how long the guest was ready to go on since it started, and this machine had no processor for it: that of its threads
// that waited longest (see schedstat in proc(5)). What is left of the time is the guest's own.
func (m *Machine) Waited() (longest time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has just ended
		}
		var ran, waited time.Duration
		if _, err := fmt.Sscan(string(text), (*int64)(&ran), (*int64)(&waited)); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		longest = max(longest, waited)
	}
	return longest, nil
}
