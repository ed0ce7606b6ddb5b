package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"lighter/linux/proc"
)

const patience = 15 * time.Second // how long an engine may take to listen

// startEngine starts lighterd, from beside this program or from PATH, in a session of
// its own, and returns when it listens. Another lighterd that is just starting is as good.
func startEngine(ctx context.Context, socket string, say func(string)) error {
	logFile := filepath.Join(filepath.Dir(socket), "lighterd.log")
	program, err := findEngine()
	if err != nil {
		return fmt.Errorf("no engine listens on %s, and none can be started: %w", socket, err)
	}
	say("no engine is running, starting " + program + " (its log is " + logFile + ")")
	if err := os.MkdirAll(filepath.Dir(logFile), 0o755); err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	defer null.Close()
	engine, err := proc.Spawn(program, []string{program}, os.Environ(), []*os.File{null, log, log})
	if err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	ended := make(chan string, 1)
	go func() { // ends with the engine, or with us
		if state, err := engine.Wait(); err == nil {
			ended <- state.String()
		}
	}()
	late := time.After(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case how := <-ended:
			if c, dialErr := net.Dial("unix", socket); dialErr == nil {
				return c.Close()
			}
			return fmt.Errorf("start the engine: %s ended (%s); its log is %s", program, how, logFile)
		case <-late:
			return fmt.Errorf("start the engine: %s does not listen on %s after %v; its log is %s", program, socket, patience, logFile)
		case <-time.After(pause):
		}
	}
}

// findEngine gives the path of lighterd.
func findEngine() (string, error) {
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			beside := filepath.Join(filepath.Dir(self), "lighterd")
			if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
				return beside, nil
			}
		}
	}
	program, err := exec.LookPath("lighterd")
	if err != nil {
		return "", errors.New("there is no lighterd beside this program or in PATH")
	}
	return filepath.Abs(program)
}

// whole becomes lighterd, which has the whole command line in it, with what few commands
// need and all would pay for.
func whole(args []string) error {
	program, err := findEngine()
	if err == nil {
		err = proc.Replace(program, append([]string{program, "cli"}, args...), os.Environ())
	}
	return fmt.Errorf("become lighterd, which has more in it: %w", err)
}
