package fs

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func TestUnwritableProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts an overlay")
	}
	prog := t.TempDir() + "/true"
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs /bin/busybox (busybox-static)")
	}
	os.WriteFile(prog, b, 0o755)
	dir, name, err := Unwritable(prog)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	path := fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), dir.Fd(), name)
	if out, err := exec.Command(path).CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
	if _, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		t.Error("it can be written")
	}
	if err := os.Chmod(path, 0o777); err == nil {
		t.Error("its mode can be changed")
	}
}
