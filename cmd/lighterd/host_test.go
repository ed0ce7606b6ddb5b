package main

import "testing"

func TestInfoFacts(t *testing.T) {
	if name, _ := osRelease(); name == "" {
		t.Error("the system has no name")
	}
	if memTotal() < 1<<20 || machine() == "" || openFiles() < 3 {
		t.Error(memTotal(), machine(), openFiles())
	}
	dir := t.TempDir()
	id, err := engineID(dir)
	again, _ := engineID(dir)
	if err != nil || len(id) != 36 || id != again {
		t.Error(id, again, err)
	}
}
