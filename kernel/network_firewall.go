package kernel

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"

	"lighter/linux/net"
	"lighter/netspec"
)

// TableName is the name of an engine's table in the packet filter: engines that have
// different exec roots have different ones, and the usual one has the plain name.
func TableName(execRoot, usual string) string {
	if execRoot == usual {
		return "lighter"
	}
	h := fnv.New32a()
	h.Write([]byte(execRoot)) // a hash takes all
	return fmt.Sprintf("lighter-%08x", h.Sum32())
}

// firewall is the engine's table, and who watches that it stays.
type firewall struct {
	table string // empty: none is touched
	warn  func(error)

	mu    sync.Mutex
	conn  *net.Conn
	have  *net.Table // nil: not known
	want  *net.Table // nil: none
	watch *net.Watch
	done  chan struct{} // closed when the watching has ended
}

// Apply makes the engine's table what f says. Nothing is sent when nothing changed.
func (n *Network) Apply(f netspec.Firewall) error {
	w := &n.firewall
	if w.table == "" {
		return nil
	}
	if err := n.open(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		err := net.In(n.home, func() (err error) { w.conn, err = net.Connect(); return err })
		if err != nil {
			return err
		}
	}
	if len(f.Networks) == 0 && len(f.Ports) == 0 {
		return w.remove()
	}
	if w.watch == nil {
		if err := n.startWatch(); err != nil {
			return err
		}
		w.tellDropping(f)
	}
	w.want = net.Firewall(w.table, f)
	return w.put()
}

// tellDropping warns of others' chains that will drop what containers send: an accept of
// ours cannot overrule them, and theirs are not ours to change.
func (w *firewall) tellDropping(f netspec.Firewall) {
	list, err := w.conn.Dropping(w.table)
	if err != nil || len(f.Networks) == 0 {
		return // it is advice, and nothing else hangs on it
	}
	bridge := f.Networks[0].Bridge
	for _, c := range list {
		w.warn(fmt.Errorf("the chain %[1]s %[2]s %[3]s drops what is forwarded, and with it what containers send and are sent: "+
			"`nft insert rule %[1]s %[2]s %[3]s iifname %[4]s accept` and the same with oifname let it pass (docs/networking.md, Beside other firewalls)", c.Family, c.Table, c.Name, bridge))
	}
}

// put brings the kernel's table to what is wanted. The lock is held.
func (w *firewall) put() error {
	before := w.have
	err := w.conn.Replace(w.have, w.want)
	if err != nil && w.have != nil {
		// Somebody has changed it: then all of it is made anew.
		w.have = nil
		err = w.conn.Replace(nil, w.want)
	}
	if err != nil {
		w.have = nil
		return filterError(err)
	}
	moved := net.Moved(before, w.want)
	w.have = w.want
	if moved != nil {
		return w.conn.Forget(moved)
	}
	return nil
}

// filterError says which parts of the kernel the packet filter needs, where one is not there.
func filterError(err error) error {
	if errors.Is(err, net.ErrNoSupport) || errors.Is(err, net.ErrNotThere) {
		return fmt.Errorf("set up the packet filter: this kernel lacks a part of nftables: it needs CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_FIB_INET "+
			"(modules nf_tables, nft_chain_nat, nft_masq, nft_ct, nft_fib_inet), or lighterd with --firewall=none: %w", err)
	}
	return fmt.Errorf("set up the packet filter: %w", err)
}

func (w *firewall) remove() error {
	if w.have == nil {
		if list, err := w.conn.Tables(); err != nil || !slices.Contains(list, w.table) {
			w.want = nil
			return errors.Join(err, w.stopWatch())
		}
	}
	w.want, w.have = nil, nil
	return errors.Join(w.stopWatch(), w.conn.Remove(w.table))
}

// startWatch begins to put the table back when somebody else takes it away.
func (n *Network) startWatch() error {
	w := &n.firewall
	err := net.In(n.home, func() (err error) { w.watch, err = net.WatchTable(w.table, w.conn); return err })
	if err != nil {
		return err
	}
	watch, done := w.watch, make(chan struct{})
	w.done = done
	go func() {
		defer close(done)
		for watch.Lost() == nil {
			w.mu.Lock()
			if w.watch == watch && w.want != nil {
				w.have = nil
				if err := w.put(); err != nil {
					w.warn(err)
				}
			}
			w.mu.Unlock()
		}
	}()
	return nil
}

// stopWatch ends the watching. The lock is held, and let go of meanwhile.
func (w *firewall) stopWatch() error {
	if w.watch == nil {
		return nil
	}
	err, done := w.watch.Close(), w.done
	w.watch = nil
	w.mu.Unlock()
	<-done
	w.mu.Lock()
	return err
}

// close leaves the table as it is: containers go on.
func (w *firewall) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		return nil
	}
	return errors.Join(w.stopWatch(), w.conn.Close())
}

// Bury takes away the links and the table of an engine that is gone for good; none of it while
// something is plugged into one of them, and then it is false.
func (n *Network) Bury(links []netspec.Link, table string) (bool, error) {
	if err := n.open(); err != nil {
		return false, err
	}
	all, err := n.host.Links()
	if err != nil {
		return false, err
	}
	for _, l := range links {
		at := slices.IndexFunc(all, func(o net.Link) bool { return o.Name == l.Name })
		if at >= 0 && slices.ContainsFunc(all, func(o net.Link) bool {
			return o.Master == all[at].Index || o.Kind != "veth" && o.Parent == all[at].Index
		}) {
			return false, nil
		}
	}
	for _, l := range links {
		if err := n.Drop(l); err != nil {
			return false, err
		}
	}
	if table == "" {
		return true, nil
	}
	var c *net.Conn
	if err := net.In(n.home, func() (err error) { c, err = net.Connect(); return err }); err != nil {
		return false, err
	}
	list, err := c.Tables()
	if err == nil && slices.Contains(list, table) {
		err = c.Remove(table)
	}
	return err == nil, errors.Join(err, c.Close())
}

// SpaceName names the network namespace that we are in.
func SpaceName() (string, error) { return net.SpaceName() }

// SpaceInUse tells whether anything still holds the network namespace that has this name.
func SpaceInUse(name string) bool { return net.SpaceInUse(name) }
