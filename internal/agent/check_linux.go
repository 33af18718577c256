package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func freeDisk() (free int64, readOnly bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		return 0, false, err
	}
	return int64(st.Bavail) * int64(st.Bsize), st.Flags&unix.ST_RDONLY != 0, nil
}

// powerSave asks a Wi-Fi interface whether it saves power, by the one ioctl of the wireless extensions that needs no rights
// (linux/wireless.h, SIOCGIWPOWER): cfg80211 keeps it for its drivers.
func powerSave(iface string) (on, known bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	const get = 0x8B2D
	req := struct { // struct iwreq with struct iw_param
		name     [unix.IFNAMSIZ]byte
		value    int32
		fixed    uint8
		disabled uint8
		flags    uint16
		_        [8]byte
	}{}
	copy(req.name[:unix.IFNAMSIZ-1], iface)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), get, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return false, false
	}
	return req.disabled == 0, true
}
