package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/task"
)

func TestLastError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := lastError(path); got != "" {
		t.Errorf("of no log: %q", got)
	}
	os.WriteFile(path, []byte(`{"level":"error","msg":"first"}`+"\n"+`{"level":"warning","msg":"w"}`+"\n"+`{"level":"error","msg":"last"}`+"\n"+`half`), 0o600)
	if got := lastError(path); got != "last" {
		t.Errorf("%q", got)
	}
}

// TestForeignError has a runtime that only complains: its words come back, and nothing is left.
func TestForeignError(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "rt")
	script := "#!/bin/sh\nlog=; while [ $# -gt 0 ]; do [ \"$1\" != --log ] || log=$2; shift; done\necho '{\"level\":\"error\",\"msg\":\"no luck\"}' >\"$log\"; exit 1\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	b := dirs{dir}.bundle("c", task.Runtime{Path: program})
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := b.call(t.Context(), nil, "create", "c")
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("%v", err)
	}
	if err := b.remove(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}
