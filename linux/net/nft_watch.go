package net

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch hears of what others do to a table.
type Watch struct {
	f     *os.File
	table string
	ours  uint32 // the port of the socket that we change it by
	buf   []byte
}

// WatchTable watches a table for what others take out of it; changes by way of c are ours.
// It belongs to the calling thread's namespace.
func WatchTable(table string, c *Conn) (*Watch, error) {
	own, err := unix.Getsockname(c.fd)
	if err != nil {
		return nil, fmt.Errorf("watch the packet filter: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("watch the packet filter: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch the packet filter: %w", err)
	}
	w := &Watch{f: os.NewFile(uintptr(fd), "packet filter watch"), table: table, buf: make([]byte, 32<<10)}
	w.ours = own.(*unix.SockaddrNetlink).Pid
	return w, nil
}

// Close ends the watch, and Lost with os.ErrClosed.
func (w *Watch) Close() error { return w.f.Close() }

// Lost returns when somebody else took something out of the table, or may have; of many
// such changes at a time it tells once.
func (w *Watch) Lost() error {
	lost := false
	for {
		if lost { // what else is there already
			w.f.SetReadDeadline(time.Now())
		}
		n, err := w.f.Read(w.buf)
		switch {
		case lost && errors.Is(err, os.ErrDeadlineExceeded):
			return w.f.SetReadDeadline(time.Time{})
		case errors.Is(err, unix.ENOBUFS): // so much happened that we were not told of all
			lost = true
		case err != nil:
			return err
		default:
			split(w.buf[:n], func(m reply) bool { lost = lost || w.loses(m); return !lost })
		}
	}
}

// loses reports whether a message tells of somebody else's removing what is ours.
func (w *Watch) loses(m reply) bool {
	switch int(m.kind) - unix.NFNL_SUBSYS_NFTABLES<<8 {
	case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELSETELEM:
	default:
		return false
	}
	if m.port == w.ours || len(m.body) < 4 || m.body[0] != unix.NFPROTO_INET {
		return false
	}
	ours := false
	attrs(m.body[4:], func(kind int, v []byte) {
		ours = ours || kind == unix.NFTA_TABLE_NAME && trimmed(v) == w.table // the same number in all of them
	})
	return ours
}
