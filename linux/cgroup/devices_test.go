package cgroup

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// dockerDevices are the rules of a Docker container without --device.
func dockerDevices() []specs.LinuxDeviceCgroup {
	list := []specs.LinuxDeviceCgroup{{Access: "rwm"}}
	for _, d := range [][2]int64{{1, 5}, {1, 3}, {1, 9}, {1, 8}, {5, 0}, {5, 1}} {
		list = append(list, rule("c", d[0], d[1], "rwm"))
	}
	deny := rule("c", 10, 229, "rwm")
	deny.Allow = false
	return append(list, deny)
}

// interpret runs a device program as the kernel would.
func interpret(t *testing.T, p []insn, kind, access, major, minor uint32) bool {
	t.Helper()
	var r [11]uint32
	ctx := map[int16]uint32{0: access<<16 | kind, 4: major, 8: minor}
	for pc := 0; pc < len(p); pc++ {
		i := p[pc]
		dst, src := i.regs&15, i.regs>>4
		switch i.op {
		case opLoad32:
			r[dst] = ctx[i.off]
		case opMov32:
			r[dst] = r[src]
		case opMovImm:
			r[dst] = uint32(i.imm)
		case opAnd32:
			r[dst] &= uint32(i.imm)
		case opShr32:
			r[dst] >>= uint32(i.imm)
		case opJumpNE:
			if r[dst] != uint32(i.imm) {
				pc += int(i.off)
			}
		case opJumpEQ:
			if r[dst] == uint32(i.imm) {
				pc += int(i.off)
			}
		case opReturn:
			return r[regResult] == 1
		}
	}
	t.Fatal("the program does not return")
	return false
}

func TestDeviceProgram(t *testing.T) {
	rules, err := devRules(append(dockerDevices(), rule("b", 8, -1, "r"), rule("a", 77, 7, "w")))
	if err != nil {
		t.Fatal(err)
	}
	p := deviceProgram(rules)
	const b, c = 1, 2
	for _, x := range []struct {
		kind, access, major, minor uint32
		want                       bool
	}{
		{c, devRead | devWrite, 1, 3, true},
		{c, devRead, 1, 1, false},            // mem
		{c, devMknod, 1, 1, true},            // a node, not opened
		{b, devRead, 8, 3, true},             // one access of a rule
		{b, devWrite, 8, 3, false},           //
		{b, devRead | devMknod, 8, 0, false}, // no single rule covers both
		{c, devRead, 8, 3, false},            // other kind
		{c, devWrite | devRead, 136, 4000, true},
		{c, devRead, 10, 229, false},
		{c, devRead, 10, 200, true},
		{c, devRead, 10, 201, false},
		{c, devWrite, 77, 7, true}, {b, devWrite, 77, 7, true}, {b, devWrite, 77, 8, false},
	} {
		if got := interpret(t, p, x.kind, x.access, x.major, x.minor); got != x.want {
			t.Errorf("kind %d access %d of %d:%d: %v", x.kind, x.access, x.major, x.minor, got)
		}
	}
}

func TestDeviceRules(t *testing.T) {
	all, err := devRules([]specs.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Type: "a", Access: "rwm"}})
	if err != nil || anyDeny(all) || len(all) != 1 {
		t.Errorf("privileged: %v, %v", all, err)
	}
	for _, bad := range []specs.LinuxDeviceCgroup{{Type: "x", Access: "r"}, {Type: "c", Access: "rx"}} {
		if _, err := devRules([]specs.LinuxDeviceCgroup{bad}); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
	if got := (devRule{true, 'c', 136, -1, devMknod | devRead | devWrite}).String(); got != "c 136:* mrw" {
		t.Error(got)
	}
}

const probe = `head -c1 /dev/zero >/dev/null || exit 11; (: </dev/kmsg) 2>/dev/null && exit 12
	mknod "$T/node" c 1 11 || exit 13; (: <"$T/node") 2>/dev/null && exit 14; exit 0`

// TestDevicesInTheKernel has a confined shell try.
func TestDevicesInTheKernel(t *testing.T) {
	t.Setenv("T", t.TempDir())
	g := group(t, &specs.LinuxResources{Devices: dockerDevices()})
	if err := run(t, g, probe).Wait(); err != nil {
		t.Error(err)
	}
}

// TestDeviceProgramInTheKernel attaches the program where version 1 has the devices.
func TestDeviceProgramInTheKernel(t *testing.T) {
	t.Setenv("T", t.TempDir())
	g := group(t, nil)
	if g.unified == "" {
		t.Skip("no version 2 hierarchy here")
	}
	docker, _ := devRules(dockerDevices())
	for range 3 { // again is no error, and adds nothing
		if err := g.setDevicesV2(docker); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t, g, probe).Wait(); err != nil {
		t.Error(err)
	}
	all, _ := devRules([]specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}})
	if err := g.setDevicesV2(all); err != nil {
		t.Fatal(err)
	}
	if err := run(t, g, strings.ReplaceAll(probe, "node", "other")).Wait(); err == nil || !strings.Contains(err.Error(), "12") {
		t.Errorf("after the rules were lifted: %v", err)
	}
}
