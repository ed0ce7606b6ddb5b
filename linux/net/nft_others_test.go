package net

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDropping finds the one chain that would drop what containers send.
func TestDropping(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	runtime.LockOSThread() // and the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("unshare:", err)
	}
	c, err := Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chainOf := func(table, name string, number, policy uint32) error {
		return c.commit(func(b *transaction) {
			b.table(unix.NFT_MSG_NEWTABLE, table)
			b.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "make a chain")
			b.text(unix.NFTA_CHAIN_TABLE, table)
			b.text(unix.NFTA_CHAIN_NAME, name)
			b.nest(unix.NFTA_CHAIN_HOOK, func() {
				b.net32(unix.NFTA_HOOK_HOOKNUM, number)
				b.net32(unix.NFTA_HOOK_PRIORITY, 0)
			})
			b.text(unix.NFTA_CHAIN_TYPE, "filter")
			b.net32(unix.NFTA_CHAIN_POLICY, policy)
		})
	}
	for _, made := range []struct {
		table, name    string
		number, policy uint32
	}{
		{"ours", "forward", unix.NF_INET_FORWARD, verdictDrop},
		{"mild", "forward", unix.NF_INET_FORWARD, verdictAccept},
		{"hard", "input", unix.NF_INET_LOCAL_IN, verdictDrop},
		{"hard", "fw", unix.NF_INET_FORWARD, verdictDrop},
	} {
		if err := chainOf(made.table, made.name, made.number, made.policy); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Dropping("ours")
	if err != nil || len(got) != 1 || got[0] != (Chain{"inet", "hard", "fw"}) {
		t.Fatal(got, err)
	}
}
