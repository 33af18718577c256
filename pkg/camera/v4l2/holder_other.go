//go:build !linux

package v4l2

func holder(string) string { return "" }
