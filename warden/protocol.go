package warden

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"lighter/linux/proc"
)

// The protocol: one request and one answer at a time, each a packet of a SOCK_SEQPACKET
// socket, the answer with descriptors.

// socketName is the warden's in its folder.
const socketName = "sock"

// maxPacket bounds a packet, in bytes.
const maxPacket = 4096

type request struct {
	Op       string // "spaces" or "socket"
	Six, Udp bool   // of a socket: IPv6, datagrams
}

type answer struct {
	Error string `json:",omitempty"`
	// Of spaces: why nothing connects their network with the host's, empty where pasta does.
	Lonely string `json:",omitempty"`
}

func send(c *net.UnixConn, v any, fds []proc.FD) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, _, err = c.WriteMsgUnix(b, proc.Rights(fds), nil)
	return err
}

// receive takes a packet; the descriptors are the caller's.
func receive(c *net.UnixConn, v any) ([]proc.FD, error) {
	buf, oob := make([]byte, maxPacket), make([]byte, proc.RightsSpace(len(kinds)))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	fds, err := proc.ParseRights(oob[:oobn], flags)
	if err == nil && n == 0 {
		err = errors.New("the connection ended")
	}
	if err == nil {
		err = json.Unmarshal(buf[:n], v)
	}
	if err != nil {
		for _, fd := range fds {
			fd.Close()
		}
		return nil, fmt.Errorf("a packet of the warden: %w", err)
	}
	return fds, nil
}

// short calls f with a path to the warden's socket that an address has room for.
func short(dir string, f func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(filepath.Join(fmt.Sprintf("/proc/self/fd/%d", d.Fd()), socketName))
}
