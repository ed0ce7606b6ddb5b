package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spawn starts a program that shall outlive its starter: in a session of its own,
// so that no terminal's signal meant for us reaches it, with files as its
// descriptors from 0 on. The caller waits for it by the process it gets back.
func Spawn(path string, args, env []string, files []*os.File) (*os.Process, error) {
	p, err := os.StartProcess(path, args, &os.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// Replace makes this process another program. It returns only when it cannot.
func Replace(path string, args, env []string) error {
	return fmt.Errorf("become %s: %w", path, unix.Exec(path, args, env))
}

// ChildEnded is the signal that tells of a child's end.
const ChildEnded = unix.SIGCHLD

// Send sends a signal by its number. A process that is gone gives os.ErrProcessDone.
func Send(pidfd *os.File, number int) error { return Kill(pidfd, syscall.Signal(number)) }

// Stray is a child of ours, as /proc tells of it.
type Stray struct {
	Pid     int
	Session int
	Zombie  bool
}

// Children are our children.
func Children() []Stray {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	var all []Stray
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			stat, err := os.ReadFile("/proc/" + field + "/stat")
			if err != nil {
				continue
			}
			// state, ppid, pgrp, session follow the name's parenthesis
			f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
			if len(f) < 4 {
				continue
			}
			session, _ := strconv.Atoi(f[3])
			all = append(all, Stray{Pid: pid, Session: session, Zombie: f[0] == "Z"})
		}
	}
	return all
}

// OwnSession is the session that we are in.
func OwnSession() int {
	id, _ := unix.Getsid(0)
	return id
}
