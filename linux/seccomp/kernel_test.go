package seccomp

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// probe runs testdata/probe.c under a profile.
func probe(t *testing.T, p *specs.LinuxSeccomp) (map[string]string, error) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the probe makes x86 calls")
	}
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to build the probe with")
	}
	dir := t.TempDir()
	if out, err := exec.Command(gcc, "-static", "-O1", "-o", dir+"/probe", "testdata/probe.c").CombinedOutput(); err != nil {
		t.Skipf("gcc: %v\n%s", err, out)
	}
	prog, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&prog.Filter[0])), 8*len(prog.Filter))
	if err := os.WriteFile(filepath.Join(dir, "filter"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(dir+"/probe", dir+"/filter", strconv.Itoa(int(prog.Flags))).CombinedOutput()
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		what, result, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[what] = result
	}
	return got, err
}

// TestDockersProfileInTheKernel has the kernel judge.
func TestDockersProfileInTheKernel(t *testing.T) {
	got, err := probe(t, docker(t))
	if err != nil {
		t.Fatal(err, got)
	}
	for what, want := range map[string]string{
		"getpid": "0", "socket_inet": "0", "socket_alg": "-1", "socket_alg_stray": "-1", "socket_vsock": "-1",
		"personality_linux32": "0", "personality_odd": "-1", "mount": "-1", "clone_newuser": "-1", "clone3": "-38",
		"keyctl": "-1", "future": "-38", "x32_mount": "-1", "i386_getpid": "0", "i386_mount": "-1",
		"i386_socket_alg": "-1", "i386_future": "-38", "minus_one": "-38",
	} {
		if got[what] != want {
			t.Errorf("%s: %s, want %s", what, got[what], want)
		}
	}
}

// TestForeignCallsKill leaves x86 out of the profile.
func TestForeignCallsKill(t *testing.T) {
	p := docker(t)
	p.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX32}
	got, err := probe(t, p)
	if err == nil || !strings.Contains(err.Error(), "bad system call") {
		t.Errorf("a call of an architecture not named: %v, %v", got, err)
	}
}

func TestFlagsInTheKernel(t *testing.T) {
	p := docker(t)
	p.Flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}
	if got, err := probe(t, p); err != nil || got["getpid"] != "0" {
		t.Errorf("%v, %v", got, err)
	}
}
