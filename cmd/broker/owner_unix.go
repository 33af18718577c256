//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// becomeOwner has root go on as the owner of the state directory. The service has a user of its own, and could not
// read what root had written there.
func becomeOwner(dir string) error {
	info, err := os.Stat(dir)
	if os.Geteuid() != 0 || err != nil {
		return nil // what is wrong with the directory is found where it is used
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(int(owner.Gid)), syscall.Setuid(int(owner.Uid))} {
		if err != nil {
			return fmt.Errorf("cannot go on as the owner of %s: %w", dir, err)
		}
	}
	return nil
}
