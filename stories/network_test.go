package stories

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"lighter/linux/net"
)

// Each story's engine has a network namespace of its own: what it does to bridges, rules
// and addresses the machine never sees, nor other stories. `near` runs a command there,
// as if it were on the engine's host. `far` runs one on another host, which stands at the
// end of a wire: near is 192.0.2.1 and 2001:db8::1 on it, far 192.0.2.2 and 2001:db8::2.
// $NEAR and, after `wire`, $FAR are the namespaces, for nsenter --net=.

const (
	nearLink, farLink = "wire", "wire"
	nearFour, nearSix = "192.0.2.1/24", "2001:db8::1/64"
	farFour, farSix   = "192.0.2.2/24", "2001:db8::2/64"
)

// newSpace makes a network namespace whose loopback interface is up.
func newSpace() (*os.File, error) { return net.NewSpace(func() error { return raise("lo") }) }

// raise gives an interface of the thread's namespace its addresses and sets it up.
func raise(name string, addrs ...string) error {
	c, err := net.Dial()
	if err != nil {
		return err
	}
	link, err := c.Find(name)
	if err == nil {
		var b net.Batch
		for _, a := range addrs {
			b.AddAddress(link.Index, name, netip.MustParsePrefix(a))
		}
		b.SetLink(link.Index, name, net.Change{Up: true})
		err = c.Do(&b)
	}
	return errors.Join(err, c.Close())
}

// drop lets the engine's namespace go, and what it noted of it for others there.
func (e *engine) drop() error {
	err := net.In(e.space, func() error {
		name, err := net.SpaceName()
		if err == nil {
			err = os.RemoveAll(filepath.Join("/run/lighter.networks", name))
		}
		return err
	})
	return errors.Join(err, e.space.Close())
}

func spacePath(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// wire makes the other host and the wire to it.
func (e *engine) wire() (err error) {
	if e.far, err = newSpace(); err != nil {
		return err
	}
	err = net.In(e.space, func() error {
		c, err := net.Dial()
		if err != nil {
			return err
		}
		var b net.Batch
		b.NewVeth(net.End{Name: nearLink}, net.End{Name: farLink, Space: e.far}, 0, 0)
		return errors.Join(c.Do(&b), c.Close(), net.Sysctl("net/ipv6/conf/"+nearLink+"/accept_dad", "0"), raise(nearLink, nearFour, nearSix))
	})
	return errors.Join(err, net.In(e.far, func() error {
		return errors.Join(net.Sysctl("net/ipv6/conf/"+farLink+"/accept_dad", "0"), raise(farLink, farFour, farSix))
	}))
}

func cmdWire(ts *testscript.TestScript, _ bool, _ []string) {
	e := engineOf(ts)
	ts.Check(e.wire())
	ts.Setenv("FAR", spacePath(e.far))
}

// in gives the command that runs another one in the namespace that a variable names.
func in(variable string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		space := ts.Getenv(variable)
		if space == "" || len(args) == 0 {
			ts.Fatalf("%s: usage: COMMAND..., after wire", strings.ToLower(variable))
		}
		err := ts.Exec("nsenter", append([]string{"--net=" + space}, args...)...)
		if (err != nil) != neg {
			ts.Fatalf("%s: %v", strings.Join(args, " "), err)
		}
	}
}
