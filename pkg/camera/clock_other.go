//go:build !linux

package camera

import "time"

func readMonotonic() time.Duration { return 0 }
