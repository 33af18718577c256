//go:build !linux

package agent

import "errors"

func freeDisk() (int64, bool, error) { return 0, false, errors.ErrUnsupported }

func powerSave(string) (on, known bool) { return false, false }
