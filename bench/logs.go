package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// logLine is 70 bytes with its newline; logBytes of it are printed by the log rows, by
// a cat of a file in the image: a shell's loop would be what is measured.
const (
	logLine  = "the quick brown fox jumps over the lazy dog and runs through the wood\n"
	logBytes = 100_000_040
)

var logRows = []row{
	{name: "write 100 MB of 70-byte lines", asked: 15, runs: 3, chart: "log, write 100 MB", prepare: importLines, before: forgetContainer("bench-log"), once: writeLog},
	{name: "read them back", asked: 15, runs: 3, chart: "log, read 100 MB", prepare: together(importLines, forgetContainer("bench-log"), writeLog), once: readLog, after: forgetContainer("bench-log")},
}

// importLines makes an image that holds the lines.
func importLines(ctx context.Context, e *engine) error {
	tree := filepath.Join(e.dir, "lines")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "lines"), bytes.Repeat([]byte(logLine), logBytes/len(logLine)), 0o644); err != nil {
		return err
	}
	script := `cp "$1" "$2/lines.tar" && tar -C "$2" -rf "$2/lines.tar" lines`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", e.in.busybox, tree).CombinedOutput(); err != nil {
		return fmt.Errorf("make the image of lines: %w: %s", err, out)
	}
	return e.run(ctx, "import", filepath.Join(tree, "lines.tar"), "bench:lines")
}

func writeLog(ctx context.Context, e *engine) error {
	if err := e.run(ctx, "run", "-d", "--log-opt", "max-size=1g", "--name", "bench-log", "--network", "host", "bench:lines", "cat", "/lines"); err != nil {
		return err
	}
	return e.run(ctx, "wait", "bench-log")
}

// readLog counts what it read: a log that lost a byte is no faster log.
func readLog(ctx context.Context, e *engine) error {
	cmd := e.command(ctx, "logs", "bench-log")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 1<<20))
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return err
	}
	if n != logBytes {
		return fmt.Errorf("logs gave %d bytes of %d", n, logBytes)
	}
	return nil
}
