// Package logfile is what a container printed, as a file: Docker's json-file format
// to the byte, written in batches, rotated, and read without parsing from the start.
//
//	{"log":"a line\n","stream":"stdout","time":"2026-01-02T15:04:05.123456789Z"}
//
// A Writer is for one process that knows at every moment how far its file is right
// (Position), so that another process can go on where it died. Readers need no
// Writer: they look at the files alone.
//
// It is not the keeper: it neither reads pipes nor knows of processes.
package logfile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// The streams of a container.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// MaxLine is the length in bytes from which on a line is written in parts: all but
// the last lack the newline.
const MaxLine = 16 << 10

// maxFiles bounds how many rotated files are looked for.
const maxFiles = 1000

// Options is where and how a log is written.
type Options struct {
	Path     string            // of the current file; rotated ones are Path.1 (the newest), Path.2…
	MaxSize  int64             // bytes after which a file is rotated; 0 means no bound
	MaxFiles int               // files kept, the current one among them; less than 1 means 1
	Compress bool              // rotated files become Path.N.gz
	Attrs    map[string]string // written into each record
}

// Position is how far a log is right: what lies behind Offset in the file Inode is
// an unfinished write.
type Position struct {
	Inode  uint64
	Offset int64
}

// Record is one line of a log, or a part of one. Line is valid until the function
// that got it returns.
type Record struct {
	Stream string
	Time   time.Time
	Line   []byte // ends in a newline unless a further part of the line follows
	Attrs  map[string]string
}

// Drivers are the log drivers that can be asked for. `local` is kept in the files of
// json-file: the same lines, rotated and compressed by its own defaults.
func Drivers() []string { return []string{"json-file", "local", "none"} }

// Known says whether driver is one of Drivers.
func Known(driver string) error {
	if slices.Contains(Drivers(), driver) {
		return nil
	}
	return fmt.Errorf("unknown log driver %q", driver)
}

// rotated is the name of the n-th rotated file.
func rotated(path string, n int) string { return path + "." + strconv.Itoa(n) }

// rawAttrs is the attrs member of a record, empty when there are none.
func rawAttrs(attrs map[string]string) (string, error) {
	if len(attrs) == 0 {
		return "", nil
	}
	b, err := json.Marshal(attrs)
	if err != nil {
		return "", err
	}
	return `"attrs":` + string(b) + `,`, nil
}
