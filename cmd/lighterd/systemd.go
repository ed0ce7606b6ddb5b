package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
)

// What systemd says to a service and hears of it: sd_listen_fds(3), sd_notify(3).
const (
	listenPID   = "LISTEN_PID"
	listenFDs   = "LISTEN_FDS"
	listenNames = "LISTEN_FDNAMES"
	notifyVar   = "NOTIFY_SOCKET"

	firstPassed = 3 // descriptor
)

// passed gives the sockets that were opened for this process, by their paths. None of the
// variables is left for what the engine starts.
func passed() (map[string]*net.UnixListener, error) {
	pid, count := os.Getenv(listenPID), os.Getenv(listenFDs)
	if err := errors.Join(os.Unsetenv(listenPID), os.Unsetenv(listenFDs), os.Unsetenv(listenNames)); err != nil {
		return nil, err
	}
	if pid != strconv.Itoa(os.Getpid()) && (os.Getenv(wardenVar) == "" || pid != strconv.Itoa(os.Getppid())) {
		return nil, nil // they were another's
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%s=%q is no number of sockets", listenFDs, count)
	}
	sockets := map[string]*net.UnixListener{}
	for fd := firstPassed; fd < firstPassed+n; fd++ {
		f := os.NewFile(uintptr(fd), "passed "+strconv.Itoa(fd))
		l, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("socket %d that systemd passed: %w", fd, err)
		}
		u, ok := l.(*net.UnixListener)
		if !ok {
			l.Close()
			return nil, fmt.Errorf("socket %d that systemd passed is no unix socket: TCP is for --host, with TLS", fd)
		}
		sockets[u.Addr().String()] = u
	}
	return sockets, nil
}

// notifier tells systemd how the engine is; it tells nobody when nobody asked.
type notifier struct{ path string }

// takeNotifier takes the address from the environment, as no child is to speak there.
func takeNotifier() (notifier, error) {
	n := notifier{os.Getenv(notifyVar)}
	return n, os.Unsetenv(notifyVar)
}

// say sends lines such as READY=1. That it was not heard costs the engine nothing.
func (n notifier) say(lines ...string) {
	if n.path == "" {
		return
	}
	c, err := net.Dial("unixgram", n.path)
	if err == nil {
		_, err = c.Write([]byte(strings.Join(lines, "\n")))
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		slog.Warn("systemd is not told", "of", lines[0], "error", err)
	}
}
