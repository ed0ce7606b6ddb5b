package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// always is what every container may do with devices whatever its rules say, as
// with every OCI runtime: make nodes (not open them) and use the harmless ones.
var always = []specs.LinuxDeviceCgroup{
	rule("c", -1, -1, "m"), rule("b", -1, -1, "m"),
	rule("c", 1, 3, "rwm"), rule("c", 1, 5, "rwm"), rule("c", 1, 7, "rwm"), rule("c", 1, 8, "rwm"), rule("c", 1, 9, "rwm"),
	rule("c", 5, 0, "rwm"), rule("c", 5, 2, "rwm"), rule("c", 136, -1, "rwm"),
	rule("c", 10, 200, "rwm"), // /dev/net/tun, on which too many programs rely
}

func rule(typ string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: true, Type: typ, Major: &major, Minor: &minor, Access: access}
}

// devRule is a device rule made plain: kind is 'a', 'b' or 'c', and -1 stands for any number.
type devRule struct {
	allow        bool
	kind         byte
	major, minor int64
	access       uint32 // bits as in struct bpf_cgroup_dev_ctx
}

// The kernel's bits for what is asked of a device.
const (
	devMknod = 1 << iota
	devRead
	devWrite
)

func (d devRule) whole() bool {
	return d.kind == 'a' && d.access == devMknod|devRead|devWrite
}

func (d devRule) String() string {
	if d.kind == 'a' {
		return "a *:* rwm"
	}
	num := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	access := ""
	for i, c := range "mrw" {
		if d.access&(1<<i) != 0 {
			access += string(c)
		}
	}
	return fmt.Sprintf("%c %s:%s %s", d.kind, num(d.major), num(d.minor), access)
}

// devRules checks and simplifies the rules, the ones for everybody last: a later
// rule wins.
func devRules(list []specs.LinuxDeviceCgroup) ([]devRule, error) {
	var rules []devRule
	add := func(r specs.LinuxDeviceCgroup) error {
		d := devRule{allow: r.Allow, kind: 'a', major: -1, minor: -1}
		switch r.Type {
		case "", "a":
		case "b", "c":
			d.kind = r.Type[0]
		default:
			return fmt.Errorf("device type %q is none of a, b, c", r.Type)
		}
		if r.Major != nil {
			d.major = max(*r.Major, -1)
		}
		if r.Minor != nil {
			d.minor = max(*r.Minor, -1)
		}
		for _, c := range r.Access {
			i := strings.IndexRune("mrw", c)
			if i < 0 {
				return fmt.Errorf("device access %q has letters other than r, w, m", r.Access)
			}
			d.access |= 1 << i
		}
		if r.Access == "" || d.kind == 'a' && d.major < 0 && d.minor < 0 {
			d.access = devMknod | devRead | devWrite
		}
		if d.whole() && d.major < 0 && d.minor < 0 {
			rules = rules[:0] // whatever was said before is said anew
		} else if d.kind == 'a' { // numbers without a kind: of both kinds
			d.kind = 'b'
			rules = append(rules, d)
			d.kind = 'c'
		}
		rules = append(rules, d)
		return nil
	}
	for _, r := range list {
		if err := add(r); err != nil {
			return nil, err
		}
	}
	for _, r := range always {
		if err := add(r); err != nil {
			return nil, err
		}
	}
	rules = once(rules)
	if len(rules) > 0 && !(rules[0].kind == 'a') {
		// Nothing said of the rest: it stays as the group above has it, which is allowed.
		return rules, nil
	}
	if len(rules) > 0 && rules[0].allow && !anyDeny(rules) {
		rules = rules[:1] // all allowed and nothing taken back
	}
	return rules, nil
}

// once leaves out what a later rule says again.
func once(rules []devRule) []devRule {
	var kept []devRule
	for i, d := range rules {
		if !slices.Contains(rules[i+1:], d) {
			kept = append(kept, d)
		}
	}
	return kept
}

func anyDeny(rules []devRule) bool {
	for _, d := range rules {
		if !d.allow {
			return true
		}
	}
	return false
}

// setDevices lays the rules on the group: by the files of version 1 where they are,
// as tools look there, else by a version 2 program.
func (g *Group) setDevices(list []specs.LinuxDeviceCgroup) error {
	if len(list) == 0 {
		return nil
	}
	rules, err := devRules(list)
	if err != nil {
		return err
	}
	if d, ok := g.dir("devices"); ok {
		return writeDevices(d.Path, rules)
	}
	if g.layout.Home != "" {
		return nil // only root may load such a program; and who may make no device has none but those lent to it
	}
	if g.unified != "" {
		return g.setDevicesV2(rules)
	}
	if anyDeny(rules) {
		return errors.New("devices cannot be denied: the host has no devices controller")
	}
	return nil
}

// writeDevices writes the rules in their order, all through two descriptors: opening
// a file for each costs three times as much.
func writeDevices(dir string, rules []devRule) error {
	var fds [2]int
	for i, name := range []string{"/devices.deny", "/devices.allow"} {
		fd, err := unix.Open(dir+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s%s: %w", dir, name, err)
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	for _, r := range rules {
		fd := fds[0]
		if r.allow {
			fd = fds[1]
		}
		if _, err := unix.Write(fd, []byte(r.String())); err != nil {
			return fmt.Errorf("set device rule %q of %s: %w", r, dir, err)
		}
	}
	return nil
}
