//go:build !linux

package link

import "context"

// KernelEvents waits for ctx: only Linux tells of its network.
func KernelEvents(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}
