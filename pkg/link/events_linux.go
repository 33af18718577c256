package link

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// KernelEvents calls kick, at most once a second, when the kernel says that an interface, an address or a route is new or has
// changed (rtnetlink(7)). It returns when ctx ends, or with an error where it may not listen.
//
// Membership by setsockopt and then connect(2), which gives the socket its port: a hardened unit forbids bind(2).
func KernelEvents(ctx context.Context, kick func()) error {
	f, err := openEvents()
	if err != nil {
		return err
	}
	return watch(ctx, f, kick)
}

func watch(ctx context.Context, f *os.File, kick func()) error {
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	defer f.Close()
	buf := make([]byte, 8<<10)
	var last time.Time
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case isOverrun(err): // events were lost: something happened
		case err != nil:
			return fmt.Errorf("cannot read network events: %w", err)
		case !telling(buf[:n]):
			continue
		}
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			kick()
		}
	}
}

func openEvents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
		}
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot listen to network events: %w", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

func isOverrun(err error) bool {
	e, ok := err.(*os.PathError)
	return ok && e.Err == unix.ENOBUFS
}

// telling reports whether a datagram says that something came: an interface that runs, an address, a route. What went is no
// reason to try.
func telling(b []byte) bool {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false
		}
		switch body := b[unix.NLMSG_HDRLEN:size]; kind {
		case unix.RTM_NEWADDR, unix.RTM_NEWROUTE:
			return true
		case unix.RTM_NEWLINK:
			const flagsAt = 8 // struct ifinfomsg: ifi_flags
			if len(body) >= flagsAt+4 && binary.NativeEndian.Uint32(body[flagsAt:])&unix.IFF_RUNNING != 0 {
				return true
			}
		}
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return false
}
