package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lighter/linux/proc"
)

func TestRemap(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("passwd", "root:x:0:0::/:\nann:x:1000:1000::/:\nbob:x:1001:1001::/:\neve:x:1002:1002::/:\nfay:x:1003:1003::/:\n")
	write("group", "root:x:0:\nann:x:1000:\nbob:x:1001:ann\neve:x:1002:\nfay:x:1003:\n")
	write("subuid", "# who may have which\nann:100000:65536\nann:300000:10\n1001:400000:65536\neve:500000:65536\nfay:4294967295:2\n")
	write("subgid", "ann:200000:65536\nbob:400000:65536\nfay:1:1\n")
	a := accounts(dir)
	two := []proc.IDs{{Inside: 0, Outside: 100000, Count: 65536}, {Inside: 65536, Outside: 300000, Count: 10}}
	for _, what := range []string{"ann", "1000", "ann:ann", "1000:1000", "ann:bob", "1000:1001"} {
		uids, gids, err := a.remap(what)
		if err != nil || !slices.Equal(uids, two) || len(gids) != 1 || gids[0] != (proc.IDs{Inside: 0, Outside: 200000, Count: 65536}) {
			t.Errorf("%s: %v, %v, %v", what, uids, gids, err)
		}
	}
	if uids, _, err := a.remap("bob"); err != nil || uids[0].Outside != 400000 {
		t.Errorf("ranges by number: %v, %v", uids, err)
	}
	if uids, _, err := a.remap("root"); err != nil || uids != nil {
		t.Errorf("root: %v, %v", uids, err)
	}
	for what, want := range map[string]string{
		"a:b:c": "Invalid user/group specification", ":x": "Invalid user/group specification", "ann:": "Invalid user/group specification",
		"nosuch": "Error during uid lookup", "ann:nosuch": "Error during gid lookup", "eve": "no subgid ranges found for user \"eve\"", "fay": "bad range",
	} {
		if _, _, err := a.remap(what); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	// The name that dockerd takes is made known, once, above all others' ranges.
	write("subuid", "ann:600000:65536")
	for range 2 {
		uids, gids, err := a.remap("default")
		want := []proc.IDs{{Inside: 0, Outside: 665536, Count: 65536}}
		if err != nil || !slices.Equal(uids, want) || !slices.Equal(gids, want) {
			t.Errorf("default: %v, %v, %v", uids, gids, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "subuid")); string(text) != "ann:600000:65536\ndockremap:665536:65536\n" {
		t.Errorf("subuid: %q, %v", text, err)
	}
	write("subuid.lock", "")
	write("subuid", "")
	if _, _, err := a.remap("default"); err == nil || !strings.Contains(err.Error(), "somebody else changes") {
		t.Errorf("under another's lock: %v", err)
	}
}
